"""Who is taken for whom, in small versions of the worlds of the docs: by default rules and by those recommended."""

import pytest

from benchmarks.accuracy import accuracy_of, worlds


@pytest.mark.parametrize(
    ("name", "default", "recommended"),
    [
        ("the quickstart's shop", (0.9796, 0.9546, 0.925), (0.9796, 0.9546, 0.925)),
        ("families that share a tablet", (0.7048, 0.7361, 0.7169), (0.8871, 0.895, 0.8544)),
        ("a call centre's mailboxes", (0.942, 0.9374, 0.931), (0.9727, 0.9395, 0.9362)),
        ("apps installed again and again", (1.0, 0.7373, 0.7365), (1.0, 0.9578, 0.9562)),
    ],
)
def test_people_are_told_apart_as_well_as_the_docs_say(name, default, recommended):
    accuracy = accuracy_of(worlds(0.03)[name]())
    rounded = [tuple(round(part, 4) for part in pairs) for pairs in (accuracy.default, accuracy.recommended)]
    assert rounded == [default, recommended]
