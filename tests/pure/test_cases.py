"""Test cases as JSON: read, written, refused with a path, and which audiences their people are in."""

import pytest

from audiences.rules.cases import DefinitionCase, memberships_in, parse_case, scope_of
from audiences.rules.references import PastMembership
from audiences.rules.validation import DefinitionError
from audiences.rules.windows import Duration

AT = "2026-06-15T12:00:00.000Z"
WHOLE = {
    "name": "Everything",
    "at": AT,
    "expected": True,
    "events": [{"name": "Ordered", "at": AT, "properties": {"total": 60, "tags": ["a"]}, "source": "website"}],
    "traits": {"plan": "pro", "gone": None},
    "audiences": [{"key": "buyers", "enteredAt": "2026-06-10T12:00:00.000Z", "leftAt": "2026-06-14T12:00:00.000Z"}],
    "anonymous": True,
    "split": 12.5,
}


def case(**fields) -> DefinitionCase:
    return parse_case({"name": "A case", "at": AT, "expected": True, **fields})


def test_a_case_is_written_as_it_was_read():
    assert parse_case(WHOLE).json() == WHOLE
    assert parse_case(case().json()) == case()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"at": "2026-06-15T12:00:00"}, "at"),
        ({"at": 12}, "at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"expected": None}, "expected"),
        ({"events": {}}, "events"),
        ({"events": [{"name": "Ordered", "at": AT}] * 51}, "events"),
        ({"events": [{"at": AT}]}, "events[0].name"),
        ({"events": [{"name": "Ordered", "at": AT, "properties": []}]}, "events[0].properties"),
        ({"events": [{"name": "Ordered", "at": "2026-06-15T12:00:00.001Z"}]}, "events[0].at"),
        ({"traits": {"n": 10**30}}, "traits.n"),
        ({"traits": {"n": {"deep": "\0"}}}, "traits.n"),
        ({"anonymous": 1}, "anonymous"),
        ({"split": True}, "split"),
        ({"id": "cas_1"}, "id"),
    ],
)
def test_what_is_no_case_is_refused_at_its_place(change, path):
    with pytest.raises(DefinitionError) as refused:
        case(**change)
    assert refused.value.path == path


def test_a_computed_trait_expects_any_value_or_none():
    for value in (None, 3, "three", ["a", "b"], False):
        assert parse_case({"name": "A case", "at": AT, "expected": value}, of_trait=True).expected == value


def test_memberships_are_those_of_the_moment():
    cases = [
        case(audiences=[{"key": "buyers"}]),
        case(audiences=[{"key": "buyers", "enteredAt": "2026-06-13T12:00:00Z"}]),
        case(audiences=[{"key": "buyers", "enteredAt": "2026-06-10T12:00:00Z", "leftAt": AT}]),
        case(audiences=[{"key": "others"}]),
    ]
    lately, ever = PastMembership("buyers", Duration(3, "days")), PastMembership("buyers", None)
    known = memberships_in(cases, ["buyers"], [lately, ever])
    assert {name: list(members) for name, members in known.items()} == {
        "buyers": [1, 2],
        lately.before: [1, 2],
        lately.name: [2],
        ever.name: [1, 2, 3],
    }


def test_a_case_is_of_no_workspace_that_there_is():
    scope = scope_of([case()], space=7, sources={})
    assert (scope.workspace, scope.space) == (0, 7)
    assert scope.tables.text.startswith("WITH profiles AS (SELECT 0 AS workspace")
