"""The builder's form as a tree: what it means, and where it is wrong."""

import pytest
from hypothesis import given, settings

from audiences.rules import draft_form, grammar
from tests.worlds import definitions


@settings(max_examples=300)
@given(definitions("other"))
def test_a_definition_comes_back_from_the_form_as_it_was(definition):
    normal = grammar.to_json(grammar.parse(definition))
    shown = draft_form.fields_of(draft_form.of_definition(normal))
    assert all(isinstance(value, str) for value in shown.values())
    assert repr(draft_form.definition(draft_form.of_fields(shown))) == repr(normal)


@pytest.mark.parametrize(
    ("acts", "rows"),
    [
        (["add::event", "add::event"], ["A", "B", "C", "", ""]),
        (["remove:rows.0", "remove:rows.1"], ["C"]),
        (["remove:rows.0", "remove:rows.0"], ["B", "C"]),
        (["remove:rows.0", "negate:rows.0", "add::event"], ["B", "C", ""]),
        (["duplicate:rows.0", "remove:rows.1"], ["A", "A", "C"]),
        (["up:rows.2", "negate:rows.2"], ["A", "not C", "B"]),
        (["up:rows.2", "up:rows.2"], ["C", "A", "B"]),
        (["group:rows.1", "up:rows.2"], ["A", "C", ["B"]]),
        (["group:rows.1", "add:rows.1:where", "remove:rows.0"], [["B"], "C"]),
        (["explode:rows.0", "remove:rows.7", "add::nonsense", "remove:rows", "remove:rows.2"], ["A", "B"]),
    ],
)
def test_several_acts_mean_the_rows_that_were_seen_when_the_buttons_were_pressed(acts, rows):
    tree = draft_form.of_definition({"all": [{"kind": "event", "name": name, "atLeast": 1} for name in "ABC"]})
    parted = [(*act.split(":"), "")[:3] for act in acts]
    made, _ = draft_form.edited_by(tree, parted)
    assert [_said(row) for row in made["rows"]] == rows
    assert [_said(row) for row in tree["rows"]] == ["A", "B", "C"]


def _said(row):
    """A condition as its event, a group as a list of them."""
    if "rows" in row:
        return [_said(each) for each in row["rows"]]
    return f"not {row['name']}" if row["not"] == "1" else row["name"]
