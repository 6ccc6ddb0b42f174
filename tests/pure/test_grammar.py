"""Definitions: what is taken, what is refused and where it is wrong, and the one sentence that each has."""

import copy
import json
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from audiences.conditions import KINDS
from audiences.rules import grammar
from audiences.rules.grammar import DEEPEST, MOST_CONDITIONS, change_keys, located, parse, sentence, to_json, to_sql
from audiences.rules.operators import operators
from audiences.rules.validation import DefinitionError
from sources.events.sql import Sql
from tests.reference.oracle import Moment, World
from tests.worlds import NOW, definitions, worlds

ONE_OF_THE_KINDS = f"must be one of {', '.join(KINDS)}"
SEEN = {"kind": "event", "name": "Seen"}
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}


def event(**fields):
    return {"kind": "event", "name": "Seen", **fields}


def trait(**fields):
    return {"kind": "trait", "name": "plan", **fields}


def where(*rows):
    return event(where=list(rows))


def nested(depth):
    return SEEN if depth == 1 else {"not": nested(depth - 1)}


UNITS = "minutes, hours, days, weeks"
DATE = "must be a date such as 2026-01-31, or a moment such as 2026-01-31T08:00:00Z"
WHOLE = "must be a whole number from 1 to 1,000,000,000"
OPS = ", ".join(operators(relative=False))
BESIDE = "must stand beside one of all, any, and beside nothing else"
BEFORE_IT = "must be the number of a step before this one, or 0 for the event itself"
BAD = [
    # the tree
    (None, "", "must be an object"),
    ("everyone", "", "must be an object"),
    ([SEEN], "", "must be an object"),
    ({}, "", "must have a kind, or one of all, any, not"),
    ({"all": []}, "all", "must be a list with at least one row"),
    ({"any": {}}, "any", "must be a list with at least one row"),
    ({"all": "x"}, "all", "must be a list with at least one row"),
    ({"all": [SEEN, None]}, "all[1]", "must be an object"),
    ({"not": [SEEN]}, "not", "must be an object"),
    ({"not": {}}, "not", "must have a kind, or one of all, any, not"),
    ({"all": [SEEN], "any": [SEEN]}, "", "must have a kind, or one of all, any, not"),
    ({"none": [SEEN]}, "none", "is not known here"),
    ({"all": [SEEN], "note": "x"}, "note", "is not known here"),
    ({"any": [{"all": [{"not": {"nor": 1}}]}]}, "any[0].all[0].not.nor", "is not known here"),
    (nested(DEEPEST + 1), ".".join(["not"] * DEEPEST), f"must not be nested deeper than {DEEPEST}"),
    ({"any": [SEEN] * (MOST_CONDITIONS + 1)}, "any", f"must not have more than {MOST_CONDITIONS} rows"),
    ({"any": [{"any": [SEEN] * 251}] * 2}, "", f"must not have more than {MOST_CONDITIONS} conditions"),
    # groups about others
    ({"users": "any"}, "", "must have a kind, or one of all, any, not"),
    ({"users": "any", "not": SEEN}, "users", BESIDE),
    ({"users": "any", "accounts": "any", "all": [SEEN]}, "accounts", BESIDE),
    ({"all": [{"users": "some", "all": [SEEN]}]}, "all[0].users", "must be one of any, all, none"),
    ({"users": ["any"], "all": [SEEN]}, "users", "must be one of any, all, none"),
    ({"users": "any", "all": []}, "all", "must be a list with at least one row"),
    ({"users": "any", "all": [{"kind": "event"}]}, "all[0].name", "is missing"),
    (
        {"users": "any", "all": [{"not": {"users": "all", "any": [SEEN]}}]},
        "all[0].not.users",
        "is not known here: it is about users already",
    ),
    (
        {"users": "any", "all": [{"accounts": "any", "all": [{"users": "any", "all": [SEEN]}]}]},
        "all[0].all[0].users",
        "must not be in more than 1 other group about users or accounts",
    ),
    # the kind
    ({"kind": "horoscope"}, "kind", ONE_OF_THE_KINDS),
    ({"kind": None}, "kind", ONE_OF_THE_KINDS),
    ({"kind": ["event"]}, "kind", ONE_OF_THE_KINDS),
    ({"kind": "Event", "name": "Seen"}, "kind", ONE_OF_THE_KINDS),
    ({"all": [SEEN, {"not": {"kind": ""}}]}, "all[1].not.kind", ONE_OF_THE_KINDS),
    # events
    ({"kind": "event"}, "name", "is missing"),
    (event(name=""), "name", "must be a text, not empty"),
    (event(name=7), "name", "must be a text, not empty"),
    (event(name="x" * 201), "name", "must not be longer than 200 characters"),
    (event(name="a\0"), "name", "must not hold characters that cannot be stored"),
    (event(name="\ud800"), "name", "must not hold characters that cannot be stored"),
    (event(least=1), "least", "is not known here"),
    (event(all=[SEEN]), "all", "is not known here"),
    (event(atLeast=0), "atLeast", WHOLE),
    (event(atLeast="1"), "atLeast", WHOLE),
    (event(atLeast=1.0), "atLeast", WHOLE),
    (event(atLeast=True), "atLeast", WHOLE),
    (event(exactly=-1), "exactly", "must be a whole number from 0 to 1,000,000,000"),
    (event(atMost=None), "atMost", "must be a whole number from 0 to 1,000,000,000"),
    (event(atLeast=1, atMost=2), "atMost", "cannot be used with atLeast"),
    (event(within="7 days"), "within", "must be an object"),
    (event(within={}), "within", f"must have one of {UNITS}"),
    (event(within={"days": 1, "hours": 1}), "within", f"must have one of {UNITS}"),
    (event(within={"months": 1}), "within.months", "is not known here"),
    (event(within={"days": 1, "from": 1}), "within.from", "is not known here"),
    (event(within={"days": 0}), "within.days", WHOLE),
    (event(within={"days": 3661}), "within", "must not be longer than ten years"),
    (event(within=None), "within", "must be an object"),
    ({"all": [SEEN, event(within={"days": 0.5})]}, "all[1].within.days", WHOLE),
    (event(between={"days": 1}), "between", "must be a list with at least one row"),
    (event(between=[{"days": 1}]), "between", "must be a list of two"),
    (event(between=[{"days": 7}, {"weeks": 1}]), "between[1]", "must be longer ago than the first"),
    (event(between=[{"days": 1}, {"days": 0}]), "between[1].days", WHOLE),
    (event(within={"days": 1}, on="2026-01-31"), "on", "cannot be used with within"),
    (event(on="2026-01-31", before="2026-01-31"), "on", "cannot be used with before"),
    (event(on="2026-01-31T08:00:00Z"), "on", "must be a date such as 2026-01-31, without a time"),
    (event(after="soon"), "after", DATE),
    (event(after="2026-01-31", before="2026-01-31"), "before", "must be later than after"),
    # amounts
    (event(sum="revenue"), "", "must have one of atLeast, exactly, atMost with sum"),
    (event(sum="", atLeast=1), "sum", "must be a text, not empty"),
    (event(sum="revenue", average="revenue", atLeast=1), "average", "cannot be used with sum"),
    (event(sum="revenue", atLeast="1"), "atLeast", "must be a number"),
    (event(distinct="sku", atLeast=0), "atLeast", WHOLE),
    (event(median="revenue", atLeast=1), "median", "is not known here"),
    # sequences
    (event(then=[]), "then", "must be a list with at least one row"),
    (event(then=[SEEN]), "then[0].kind", "is not known here"),
    (event(then=[{"exactly": 0}]), "then[0].name", "is missing"),
    (event(then=[{"name": "A", "sum": "x", "atLeast": 1}]), "then[0].sum", "is not known here"),
    (event(then=[{"name": "A", "within": {"days": 0}}]), "then[0].within.days", WHOLE),
    (event(then=[{"name": "A"}, {"name": "B", "follows": 2}]), "then[1].follows", BEFORE_IT),
    (event(then=[{"name": "A", "where": [{"property": "p"}]}]), "then[0].where[0].op", "is missing"),
    (event(then=[{"name": "A"}] * 9), "then", "must not have more than 8 rows"),
    # filters
    (event(where=[]), "where", "must be a list with at least one row"),
    (event(where={}), "where", "must be a list with at least one row"),
    (where("x"), "where[0]", "must be an object"),
    (where({"op": "exists"}), "where[0].property", "is missing"),
    (where({"property": "p"}), "where[0].op", "is missing"),
    (where({"property": "p", "op": "is"}), "where[0].op", f"must be one of {OPS}"),
    (where({"property": "p", "op": ["equals"]}), "where[0].op", f"must be one of {OPS}"),
    (where({"property": "p", "op": "exists", "value": 1}), "where[0].value", "is not known here"),
    (where({"property": "p", "op": "equals"}), "where[0].value", "is missing"),
    (where({"name": "p", "op": "exists"}), "where[0].property", "is missing"),
    (event(where=[{"property": "p", "op": "exists"}] * 51), "where", "must not have more than 50 rows"),
    # operators and their values
    (trait(op="equals", value=None), "value", "must be a number"),
    (trait(op="equals", value={"a": 1}), "value", "must be a number"),
    (trait(op="equals", value=2**63), "value", "must be a number of 64 bits"),
    (trait(op="equals", value=float("inf")), "value", "must be a number of 64 bits"),
    (trait(op="equals", value=float("nan")), "value", "must be a number of 64 bits"),
    (trait(op="equals", value="x" * 1001), "value", "must not be longer than 1000 characters"),
    (trait(op="lessThan", value="7"), "value", "must be a number"),
    (trait(op="atLeast", value=True), "value", "must be a number"),
    (trait(op="contains", value=7), "value", "must be a text, not empty"),
    (trait(op="endsWith", value=""), "value", "must be a text, not empty"),
    (trait(op="oneOf", value="a"), "value", "must be a list with at least one row"),
    (trait(op="oneOf", value=["a", None]), "value[1]", "must be a number"),
    (trait(op="oneOf", value=["a"] * 501), "value", "must not have more than 500 rows"),
    (trait(op="before", value="31.1.2026"), "value", DATE),
    (trait(op="after", value="2026-02-30"), "value", DATE),
    (trait(op="after", value="2026-01-31T08"), "value", DATE),
    (trait(op="after", value=20260131), "value", DATE),
    (where({"property": "p", "op": "withinLast", "value": {"days": 1}}), "where[0].op", f"must be one of {OPS}"),
    (trait(op="withinLast", value=7), "value", "must be an object"),
    (trait(op="withinNext", value={"days": 0}), "value.days", WHOLE),
    (trait(op="anniversary", value=1.5), "value", "must be a whole number of days from 0 to 365"),
    (trait(op="anniversary", value=366), "value", "must be a whole number of days from 0 to 365"),
    # splits
    ({"kind": "split", "name": "a"}, "to", "is missing"),
    ({"kind": "split", "name": "a", "to": 101}, "to", "must be more than 0 and at most 100"),
    ({"kind": "split", "name": "a", "from": 50, "to": 50}, "to", "must be more than 50 and at most 100"),
    ({"kind": "split", "name": "a", "from": 100, "to": 100}, "from", "must be at least 0 and less than 100"),
    # traits and audiences
    ({"kind": "trait", "op": "exists"}, "name", "is missing"),
    (trait(op="exists", within={"days": 1}), "within", "is not known here"),
    ({"kind": "audience"}, "key", "is missing"),
    ({"kind": "audience", "key": ""}, "key", "must be a text, not empty"),
    ({"kind": "audience", "key": "vip", "name": "VIP"}, "name", "is not known here"),
]  # fmt: skip


@pytest.mark.parametrize(("definition", "path", "message"), BAD)
def test_a_wrong_definition_names_the_place_and_what_should_be_there(definition, path, message):
    with pytest.raises(DefinitionError) as raised:
        parse(definition)
    assert (raised.value.path, raised.value.message) == (path, message)
    assert str(raised.value) == (f"{path}: {message}" if path else message)


SCHEMA = Draft202012Validator({"$ref": "#/$defs/Definition", "$defs": grammar.schemas("#/$defs/{}")})
# What the schema leaves to the parser: depth and number, which value an operator takes, and what is no JSON.
LEFT = ("nested deeper", "500 conditions", "be stored", "cannot be used with", "ten years", "64 bits", "must be a date")
LEFT += ("longer ago than", "later than", "atMost with sum", "a step before", "must be more than")
LEFT += ("it is about users already", "other group about")
BOUNDS = ("atLeast", "exactly", "atMost")  # numbers where something is measured, else whole ones


@given(definitions())
def test_the_schema_takes_whatever_the_parser_takes(definition):
    SCHEMA.validate(definition)


@pytest.mark.parametrize(("definition", "path", "message"), BAD)
def test_the_schema_refuses_what_the_parser_refuses_but_for_what_it_cannot_say(definition, path, message):
    left = (
        any(words in message for words in LEFT)
        or path.endswith("value")
        or (path in BOUNDS and definition["kind"] == "event")
    )
    assert left or not SCHEMA.is_valid(definition)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["event", "Seen"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["kind", "name", "all", "any", "not", "op", "value", "within", "days", "where", "property", "users"]
            ),
            inner,
            max_size=4,
        ),
    ),
)


@given(definitions("other"), st.data(), junk)
def test_a_definition_that_is_spoilt_anywhere_is_refused_or_means_something_else(definition, data, spoil):
    """Nothing is ever overlooked: what is taken says back all that was put into it."""
    spoilt = copy.deepcopy(definition)
    place = data.draw(st.sampled_from(_places(spoilt)))
    assume((place[1], type(spoil), spoil) != ("follows", int, 0))  # the one thing that may be said or left out
    place[0][place[1]] = spoil
    with suppress(DefinitionError):
        assert _scalars(spoilt) <= _scalars(to_json(parse(spoilt)))


def test_a_step_that_follows_the_event_may_say_so():
    said, unsaid = event(then=[{"name": "B", "follows": 0}]), event(then=[{"name": "B"}])
    assert parse(said) == parse(unsaid)
    assert to_json(parse(said)) == to_json(parse(unsaid))


def _places(value):
    """(object or list, key) of everything inside."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def _scalars(value):
    if isinstance(value, dict):
        return {("key", key) for key in value}.union(*map(_scalars, value.values()))
    if isinstance(value, list):
        return set().union(*map(_scalars, value))
    return {(type(value).__name__, value)}


@given(definitions("other"))
def test_a_definition_reads_back_as_it_was_written(definition):
    node = parse(json.loads(json.dumps(definition)))
    assert to_json(node) == json.loads(json.dumps(to_json(node)))
    assert parse(to_json(node)) == node
    assert hash(node) == hash(parse(to_json(node)))


@given(worlds(), definitions("other"), st.booleans())
def test_what_a_definition_says_back_means_the_same(world, definition, anonymous):
    moment = Moment(world, NOW, {"other": frozenset(list(world.people())[:2])})
    back = to_json(parse(definition))
    before, after = (moment.members(each, include_anonymous=anonymous) for each in (definition, back))
    assert before == after


@given(worlds(), definitions("other"), st.booleans())
def test_nothing_but_what_it_is_touched_by_can_change_an_answer(world, definition, anonymous):
    """Take away every event, trait and audience that the definition names no change set for: it does not notice."""
    keys = change_keys(parse(definition))
    less = World(
        world.known,
        world.accounts,
        world.merges,
        [event for event in world.events if f"event:{event.name}" in keys],
        [trait for trait in world.traits if f"trait:{trait.key}" in keys],
    )
    others = {"other": frozenset(list(world.people())[:2]) if "audience:other" in keys else frozenset()}
    all_others = {"other": frozenset(list(world.people())[:2])}
    assert Moment(less, NOW, others).members(definition, include_anonymous=anonymous) == Moment(
        world, NOW, all_others
    ).members(definition, include_anonymous=anonymous)


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (SEEN, 'People who performed "Seen" at least once.'),
        ({"not": SEEN}, 'People who are not among those who (performed "Seen" at least once).'),
        (
            {"all": [SEEN, {"any": [PRO, {"kind": "audience", "key": "vip"}]}]},
            'People who performed "Seen" at least once and (have a profile where the trait "plan" is "pro"'
            ' or are in the audience "vip").',
        ),
        (
            {"any": [{"all": [SEEN, PRO]}, PRO]},
            'People who (performed "Seen" at least once and have a profile where the trait "plan" is "pro")'
            ' or have a profile where the trait "plan" is "pro".',
        ),
        ({"all": [{"any": [{"all": [SEEN]}]}]}, 'People who performed "Seen" at least once.'),
    ],
)
def test_the_sentence_is_exact(definition, expected):
    assert sentence(parse(definition)) == expected
    anonymous = expected.replace("People who", "People, anonymous ones included, who")
    assert sentence(parse(definition), include_anonymous=True) == anonymous


@given(definitions("other"), definitions("other"))
def test_two_definitions_that_differ_have_two_sentences(one, other):
    """One word for two meanings would let a marketer send to the wrong people. Groups of one row are no group."""
    if _bare(to_json(parse(one))) != _bare(to_json(parse(other))):
        assert sentence(parse(one)) != sentence(parse(other))


def _bare(node):
    if "not" in node:
        return {"not": _bare(node["not"])}
    for word in ("all", "any"):
        if word in node:
            rows = [_bare(row) for row in node[word]]
            return rows[0] if len(rows) == 1 else {word: rows}
    if node["kind"] == "event" and 0 in (node.get("exactly"), node.get("atMost")):
        return {name: value for name, value in node.items() if name not in ("exactly", "atMost")} | {"times": 0}
    return json.loads(json.dumps(node))


def test_the_tree_becomes_sql_with_parentheses_of_its_own():
    node = parse({"all": [SEEN, {"not": {"any": [PRO, SEEN]}}]})
    text = to_sql(node, lambda condition: Sql(condition.kind), lambda group: Sql(group.which)).text
    assert text == "(event AND NOT ((trait OR event)))"


def test_conditions_are_found_with_their_paths():
    node = parse({"all": [SEEN, {"not": {"any": [PRO, SEEN]}}]})
    assert [(path, each.kind) for path, each in located(node)] == [
        ("all[0]", "event"),
        ("all[1].not.any[0]", "trait"),
        ("all[1].not.any[1]", "event"),
    ]
    assert list(located(parse(SEEN))) == [("", parse(SEEN).condition)]


def test_the_deepest_and_the_longest_are_taken():
    parse(nested(DEEPEST))
    node = parse({"any": [{"any": [SEEN] * (MOST_CONDITIONS // 2)}] * 2})
    assert len(list(grammar.conditions(node))) == MOST_CONDITIONS


ANY_USER = {"users": "any", "all": [SEEN, PRO]}
IS_PRO = 'have a profile where the trait "plan" is "pro"'
HAS_SEEN = 'performed "Seen" at least once'
ABOUT_OTHERS = [
    (
        "accounts",
        {"all": [PRO, ANY_USER]},
        f"Accounts that {IS_PRO} and have any users who ({HAS_SEEN} and {IS_PRO}).",
    ),
    (
        "accounts",
        {"users": "all", "any": [{"not": SEEN}]},
        f"Accounts that have only users who (are not among those who ({HAS_SEEN})).",
    ),
    (
        "accounts",
        {"not": {"users": "none", "all": [SEEN]}},
        f"Accounts that are not among those that (have no users who ({HAS_SEEN})).",
    ),
    (
        "users",
        {"any": [{"accounts": "any", "all": [PRO]}, {"accounts": "none", "all": [{"users": "any", "all": [SEEN]}]}]},
        f"People who belong to any accounts that ({IS_PRO}) or belong to no accounts that (have any users who"
        f" ({HAS_SEEN})).",
    ),
    ("users", {"accounts": "all", "all": [PRO]}, f"People who belong only to accounts that ({IS_PRO})."),
]


@pytest.mark.parametrize(("of", "definition", "expected"), ABOUT_OTHERS)
def test_a_group_about_others_is_kept_and_said(of, definition, expected):
    node = parse(definition)
    assert parse(to_json(node)) == node
    assert to_json(grammar.beginning(node, NOW)) == to_json(node)
    assert sentence(node, of=of) == expected
    assert change_keys(node) <= {"event:Seen", "trait:plan"}
    grammar.check_of(node, of)
    with pytest.raises(DefinitionError, match="is not known here: what is about"):
        grammar.check_of(node, {"users": "accounts", "accounts": "users"}[of])


def test_each_condition_says_whom_it_is_about():
    node = parse({"all": [PRO, {"not": {"users": "any", "any": [SEEN, {"accounts": "all", "all": [PRO]}]}}]})
    assert [(path, of) for path, _, of in grammar.about(node, "accounts")] == [
        ("all[0]", "accounts"),
        ("all[1].not.any[0]", "users"),
        ("all[1].not.any[1].all[0]", "accounts"),
    ]
    assert [path for path, _ in grammar.parts(node)] == ["all[0]", "all[1].not"]
    assert [leaf.kind for leaf in grammar.leaves(node)] == ["trait"]
