"""The builder's form as a tree: what it means, and where it is wrong."""

import pytest
from hypothesis import given, settings

from audiences.rules import draft_form, grammar
from audiences.rules.validation import DefinitionError
from tests.draft_fields import fields_of
from tests.worlds import definitions, traits


@settings(max_examples=300)
@given(definitions("other"))
def test_a_definition_comes_back_from_the_form_as_it_was(definition):
    normal = grammar.to_json(grammar.parse(definition))
    shown = fields_of(draft_form.of_definition(normal))
    assert all(isinstance(value, str) for value in shown.values())
    assert repr(draft_form.definition(draft_form.of_fields(shown))) == repr(normal)


@settings(max_examples=100)
@given(traits)
def test_a_computed_trait_comes_back_from_the_form_as_it_was(definition):
    normal = grammar.to_json(grammar.parse_trait(definition))
    shown = fields_of(draft_form.of_definition(normal))
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
    made, _ = draft_form.edited(tree, parted)
    assert [_said(row) for row in made["all"]] == rows
    assert [_said(row) for row in tree["all"]] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("stored", "definition"),
    [
        ({"bare": "1", "join": "all", "not": "0", "rows": ["A"]}, "A"),
        ({"bare": "", "join": "all", "not": "0", "rows": ["A"]}, {"all": ["A"]}),
        ({"bare": "1", "join": "any", "not": "0", "rows": ["A", "B"]}, {"any": ["A", "B"]}),
        ({"bare": "", "join": "any", "not": "1", "rows": ["A"]}, {"not": {"any": ["A"]}}),
        (
            {"join": "all", "rows": ["A", {"join": "any", "not": "2", "rows": ["B"]}]},
            {"all": ["A", {"not": {"not": {"any": ["B"]}}}]},
        ),
        ({"any": [{"not": {"all": ["A"]}}, "B"]}, {"any": [{"not": {"all": ["A"]}}, "B"]}),
    ],
)
def test_a_draft_that_an_older_release_stored_still_opens(stored, definition):
    """Those have `join`, `rows` and a count of negations; those of this release have a definition's own shape."""
    as_entries = {"kind": "event", "frequency": "atLeast", "times": "1", "count": "7", "unit": "", "where": []}
    opened = draft_form.of_stored(_with_events(stored, as_entries | {"not": "0"}))
    assert draft_form.definition(opened) == _with_events(definition, {"kind": "event", "atLeast": 1})
    assert draft_form.of_stored(opened) == opened


@pytest.mark.parametrize("stored", [None, [], 7, {}, {"rows": 7}, {"all": [7, None]}, {"kind": "gone", "name": "A"}])
def test_a_stored_draft_that_is_nothing_known_opens_as_an_empty_group(stored):
    assert draft_form.of_stored(stored) == {"all": []}


def test_whatever_depth_a_form_has_it_is_refused_and_not_a_crash():
    for wrap in (
        lambda stored: {"not": stored},
        lambda stored: {"all": [stored]},
        lambda stored: {"rows": [stored], "not": "20"},
    ):
        stored = {"kind": "event", "name": "A"}
        for _ in range(300):
            stored = wrap(stored)
        tree = draft_form.of_stored(stored)
        assert draft_form.flaws(draft_form.edited(tree, [("add", "", "trait")])[0])


AT_LEAST = "At least must be a whole number from 1 to 1,000,000,000."


@pytest.mark.parametrize(
    ("definition", "entry", "value", "flaw"),
    [
        ("A", "name", "", ("rows.0", "name", "Event is missing.")),
        ({"not": "A"}, "times", "0", ("rows.0", "times", AT_LEAST)),
        (
            {"not": {"any": ["A", "B"]}},
            "times",
            "x",
            ("rows.0", "times", AT_LEAST),
        ),
    ],
)
def test_a_flaw_names_the_row_and_the_entry(definition, entry, value, flaw):
    tree = draft_form.of_definition(_with_events(definition, {"kind": "event", "atLeast": 1}))
    node = draft_form.without_not(tree)
    draft_form.without_not(node.get("any", [node])[0])[entry] = value
    assert draft_form.flaws(tree)[0] == draft_form.Flaw(*flaw)
    with pytest.raises(DefinitionError) as raised:
        draft_form.definition(tree)
    assert draft_form.flaw_of(tree, raised.value) == draft_form.Flaw(*flaw)


def _with_events(node, event):
    """The tree with a condition on the event of this name for each text."""
    if isinstance(node, str) and node in ("A", "B"):
        return {**event, "name": node}
    if isinstance(node, list):
        return [_with_events(inner, event) for inner in node]
    return {key: _with_events(inner, event) for key, inner in node.items()} if isinstance(node, dict) else node


def _said(row):
    """A condition as its event, a group as a list of them."""
    inner = draft_form.without_not(row)
    if "kind" not in inner:
        return [_said(inside) for inside in inner[draft_form.word_of(inner)]]
    return inner["name"] if inner is row else f"not {inner['name']}"


ABOUT_USERS = {"users": "none", "any": [{"not": {"accounts": "all", "all": [{"kind": "audience", "key": "pro"}]}}]}


@pytest.mark.parametrize("definition", [ABOUT_USERS, {"not": ABOUT_USERS}, {"all": [ABOUT_USERS, ABOUT_USERS]}])
def test_a_group_about_others_comes_back_from_the_form_as_it_was(definition):
    shown = fields_of(draft_form.of_definition(definition))
    assert draft_form.definition(draft_form.of_fields(shown)) == definition
    assert draft_form.definition(draft_form.of_stored(draft_form.of_definition(definition))) == definition


def test_a_group_about_others_is_added_with_a_condition_and_is_not_taken_apart():
    tree, focus = draft_form.edited(
        draft_form.of_definition(ABOUT_USERS), [("add", "", "users"), ("negate", "rows.0", "")]
    )
    assert [draft_form.whom_of(draft_form.without_not(row)) for row in tree["all"]] == ["users", "users"]
    assert (tree["all"][1]["users"], tree["all"][1]["all"][0]["kind"], focus) == ("any", "event", "rows.0")
    assert draft_form.edited(tree, [("ungroup", "rows.1", "")])[0] == tree


def test_what_is_wrong_in_a_group_about_others_is_said_at_its_row():
    tree = draft_form.of_definition({"all": [ABOUT_USERS]})
    tree["all"][0]["any"][0]["not"]["all"][0]["key"] = ""
    (flaw,) = draft_form.flaws(tree)
    assert (flaw.path, flaw.entry, flaw.message) == ("rows.0.rows.0.rows.0", "key", "Audience is missing.")
    error = DefinitionError("all[0].users", "is not known here")
    assert draft_form.flaw_of(tree, error).path == "rows.0"
    assert draft_form.flaw_of(draft_form.of_definition(ABOUT_USERS), DefinitionError("users", "x")).path == "rows.0"
