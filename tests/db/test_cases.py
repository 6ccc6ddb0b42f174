"""Test cases are asked by the very statement that decides membership, and touch nothing that is stored."""

from datetime import timedelta

import pytest

from access.services import NotPossible
from audiences import cases, drafts, services
from audiences.models import Audience
from audiences.rules.cases import parse_case
from audiences.rules.grammar import ACCOUNTS
from sources.events import client
from spaces.times import iso
from tests.cast import make_cast
from tests.factories_audiences import World
from tests.factories_identity import NOON

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1, "within": {"days": 7}}


def paid(**where):
    """Who ordered and then paid so."""
    return {**ORDERED, "then": [{"name": "Paid", "where": [{"op": "equals", **where}]}]}


AS_ORDERED = paid(property="cart", value={"parent": "cart"})
AS_PREFERRED = paid(property="by", value={"trait": "pays_by"})
LAST_SESSION = {"kind": "event_counter", "name": "Ordered", "lastSession": {"minutes": 30}}


def ago(**span):
    return iso(NOON - timedelta(**span))


def case(**fields):
    return {"name": "A case", "at": iso(NOON), "expected": True, **fields}


def did(name, at, **properties):
    return {"name": name, "at": at, "properties": properties}


def ordered(at, **properties):
    return did("Ordered", at, **properties)


@pytest.fixture
def cast():
    return make_cast()


HOLDS = [
    (ORDERED, {"events": [ordered(ago(days=6, hours=23))]}, True),
    (ORDERED, {"events": [ordered(ago(days=7))]}, False),  # half-open: what is just a week old is outside
    ({"not": ORDERED}, {}, True),
    ({**ORDERED, "atLeast": 2}, {"events": [ordered(ago(days=1)), ordered(ago(days=1))]}, True),
    (
        {**ORDERED, "where": [{"property": "total", "op": "greaterThan", "value": 50}]},
        {"events": [ordered(ago(days=1), total=60)]},
        True,
    ),
    (
        {**ORDERED, "where": [{"property": "total", "op": "greaterThan", "value": 50}]},
        {"events": [ordered(ago(days=1), total="60")]},  # text, as it would be stored
        False,
    ),
    (
        {**ORDERED, "where": [{"property": "tags[]", "op": "equals", "value": "new"}]},
        {"events": [ordered(ago(days=1), tags=["old", "new"])]},
        True,
    ),
    (
        {**ORDERED, "where": [{"property": "day", "op": "equals", "value": "2026-06-15"}]},
        {"events": [ordered(ago(days=1), day="2026-06-15")]},
        True,
    ),
    ({"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}, {"traits": {"plan": "pro"}}, True),
    ({"kind": "trait", "name": "plan", "op": "exists"}, {"traits": {"plan": None}}, False),
    ({"kind": "split", "name": "summer", "from": 0, "to": 50}, {"split": 49.99}, True),
    ({"kind": "split", "name": "summer", "from": 0, "to": 50}, {"split": 50}, False),
    (ORDERED, {"events": [ordered(ago(days=1))], "anonymous": True}, False),
    (
        {"any": [ORDERED, {"kind": "event", "name": "Returned"}]},
        {"events": [{"name": "Returned", "at": ago(days=900)}]},
        True,
    ),
    (AS_ORDERED, {"events": [ordered(ago(days=2), cart=7), did("Paid", ago(days=1), cart=7)]}, True),
    (AS_ORDERED, {"events": [ordered(ago(days=2), cart=7), did("Paid", ago(days=1), cart=8)]}, False),
    (
        AS_PREFERRED,
        {"events": [ordered(ago(days=2)), did("Paid", ago(days=1), by="card")], "traits": {"pays_by": "card"}},
        True,
    ),
    (AS_PREFERRED, {"events": [ordered(ago(days=2)), did("Paid", ago(days=1), by="card")]}, False),
]


@pytest.mark.parametrize(("definition", "person", "member"), HOLDS)
def test_a_case_comes_to_what_such_a_person_would(cast, definition, person, member):
    audience = services.create_audience(cast.space, name="Some", definition=definition, by=cast.people["user"])
    services.add_case(audience, parse_case(case(expected=member, **person)), by=cast.people["user"])
    services.add_case(audience, parse_case(case(expected=not member, **person)), by=cast.people["user"])
    right, wrong = cases.run(audience)
    assert (right.came, right.holds, right.reasons) == (member, True, ())
    assert (wrong.came, wrong.holds) == (member, False)


def test_cases_of_other_audiences_computed_traits_and_sources_are_asked_as_well(cast):
    world, by = World(cast.space), cast.people["user"]
    services.create_audience(cast.space, name="Buyers", definition=ORDERED, by=by)
    services.create_trait(cast.space, name="Orders", definition={"kind": "event_counter", "name": "Ordered"}, by=by)
    slug = world.source.slug
    definition = {
        "all": [
            {"kind": "audience", "key": "buyers"},
            {"kind": "audience", "key": "buyers", "entered": {"days": 3}},
            {"kind": "computed", "name": "orders", "op": "equals", "value": 2},
            {"kind": "event", "name": "Ordered", "sources": {"only": [slug]}},
        ]
    }
    audience = services.create_audience(cast.space, name="Some", definition=definition, by=by)
    of = {
        "events": [{**ordered(ago(days=1)), "source": slug}, ordered(ago(days=2))],
        "audiences": [{"key": "buyers", "enteredAt": ago(days=2)}],
    }
    long_ago = {**of, "audiences": [{"key": "buyers", "enteredAt": ago(days=3)}]}
    once = {**of, "events": of["events"][:1]}
    elsewhere = {**of, "events": [ordered(ago(days=1)), ordered(ago(days=2))]}
    for person in (of, long_ago, once, elsewhere):
        services.add_case(audience, parse_case(case(**person)), by=by)
    outcomes = cases.run(audience)
    assert [outcome.came for outcome in outcomes] == [True, False, False, False]
    assert [[reason.holds for reason in outcome.reasons] for outcome in outcomes[1:]] == [
        [True, False, True, True],
        [True, True, False, True],
        [True, True, True, False],
    ]


def test_a_definition_that_breaks_a_case_is_refused_and_says_what_each_condition_came_to(cast):
    audience = services.create_audience(cast.space, name="Buyers", definition=ORDERED, by=cast.people["user"])
    given = parse_case(case(name="Bought five days ago", events=[ordered(ago(days=5))]))
    services.add_case(audience, given, by=cast.people["user"])
    shorter = {**ORDERED, "within": {"days": 3}}
    with pytest.raises(cases.BrokenCases) as refused:
        services.change_audience(audience, definition=shorter, by=cast.people["user"])
    (message,) = refused.value.messages
    assert message == (
        "Bought five days ago: Expected in, and it is out."
        ' “They performed "Ordered" at least once in the last 3 days.” is not true (no such event).'
    )
    assert audience.versions.count() == 1
    services.change_audience(audience, definition={**ORDERED, "within": {"days": 6}}, by=cast.people["user"])
    services.change_audience(audience, definition=shorter, despite_cases=True, by=cast.people["user"])
    assert audience.versions.count() == 3
    with pytest.raises(cases.BrokenCases):  # also a version that comes back
        services.restore_version(audience.versions.get(number=3), by=cast.people["user"])


def test_no_stored_event_counts_and_none_is_written(cast):
    world = World(cast.space)
    world.did("u1", "Ordered")
    audience = world.audience("buyers", {"kind": "event", "name": "Ordered"})
    before = client.client().query("SELECT count() FROM timeline").result_rows
    services.add_case(audience, parse_case(case(expected=False)), by=cast.people["user"])
    (outcome,) = cases.run(audience)
    assert outcome.holds
    assert client.client().query("SELECT count() FROM timeline").result_rows == before


def test_cases_go_with_a_copy_under_ids_of_their_own(cast):
    by = cast.people["user"]
    audience = services.create_audience(cast.space, name="Buyers", definition=ORDERED, by=by)
    kept = services.add_case(audience, parse_case(case(expected=False)), by=by)
    copies = [services.duplicate(audience, by=by), drafts.finish(drafts.begin_copy(audience, by), by)]
    services.remove_case(audience, kept.id, by=by)
    for copy in copies:
        (row,) = Audience.objects.get(pk=copy.pk).cases
        assert (row["name"], row["id"] != kept.id) == ("A case", True)


def test_the_case_of_a_computed_trait_expects_a_value(cast):
    by = cast.people["user"]
    counted = {"kind": "event_counter", "name": "Ordered", "within": {"days": 7}}
    trait = services.create_trait(cast.space, name="Orders", definition=counted, by=by)
    events = [ordered(ago(days=1)), ordered(ago(days=6))]
    for expected, of in ((2, events), (True, events[:1]), (None, [])):
        services.add_case(trait, parse_case(case(expected=expected, events=of), of_trait=True), by=by)
    outcomes = cases.run(trait)
    assert [outcome.holds for outcome in outcomes] == [True, False, True]
    assert outcomes[1].came == 1  # which is not true
    with pytest.raises(cases.BrokenCases):
        services.change_audience(trait, definition={**counted, "within": {"days": 2}}, by=by)


def test_the_case_of_a_computed_trait_of_a_session_has_the_events_of_the_newest(cast):
    by = cast.people["user"]
    trait = services.create_trait(cast.space, name="Orders", definition=LAST_SESSION, by=by)
    events = [ordered(ago(minutes=minutes)) for minutes in (500, 200, 180, 150)]
    services.add_case(trait, parse_case(case(expected=3, events=events), of_trait=True), by=by)
    lately = {"kind": "computed", "name": "orders", "op": "equals", "value": 3}
    audience = services.create_audience(cast.space, name="Some", definition=lately, by=by)
    services.add_case(audience, parse_case(case(events=events)), by=by)
    services.add_case(audience, parse_case(case(events=events[:2])), by=by)
    assert [outcome.came for outcome in (*cases.run(trait), *cases.run(audience))] == [3, True, False]


def test_a_case_of_an_audience_of_accounts_is_an_account_whose_user_did_it(cast):
    by = cast.people["user"]
    big = {"kind": "trait", "name": "plan", "op": "equals", "value": "big"}
    services.create_audience(cast.space, name="Good ones", definition=big, of=ACCOUNTS, by=by)
    definition = {"all": [{**ORDERED, "atLeast": 2}, big, {"kind": "audience", "key": "good_ones"}]}
    audience = services.create_audience(cast.space, name="Some", definition=definition, of=ACCOUNTS, by=by)
    given = {
        "events": [ordered(ago(days=1)), ordered(ago(days=2))],
        "traits": {"plan": "big"},
        "audiences": [{"key": "good_ones"}],
    }
    for change in ({}, {"events": given["events"][:1]}, {"traits": {}}, {"audiences": []}):
        services.add_case(audience, parse_case(case(**{**given, **change}), of=ACCOUNTS), by=by)
    outcomes = cases.run(audience)
    assert [outcome.came for outcome in outcomes] == [True, False, False, False]
    assert [[reason.helps for reason in outcome.reasons] for outcome in outcomes[1:]] == [
        [False, True, True],
        [True, False, True],
        [True, True, False],
    ]
    assert outcomes[1].reasons[0].answer == "1 such event"
    counted = {"kind": "event_counter", "name": "Ordered"}
    trait = services.create_trait(cast.space, name="Orders", definition=counted, of=ACCOUNTS, by=by)
    services.add_case(trait, parse_case(case(expected=2, events=given["events"]), of_trait=True, of=ACCOUNTS), by=by)
    assert [outcome.holds for outcome in cases.run(trait)] == [True]


def test_a_definition_that_asks_about_others_is_asked_of_no_case_and_says_why(cast):
    by = cast.people["user"]
    audience = services.create_audience(cast.space, name="Some", definition=ORDERED, by=by)
    services.add_case(audience, parse_case(case(expected=False)), by=by)
    colleagues = {"all": [ORDERED, {"accounts": "any", "all": [{"users": "any", "all": [ORDERED]}]}]}
    why = "A test case is about one person alone, and the definition asks about accounts beside it."
    with pytest.raises(cases.BrokenCases) as refused:
        services.change_audience(audience, definition=colleagues, by=by)
    assert refused.value.messages == [f"A case: It cannot be asked: {why}"]
    services.change_audience(audience, definition=colleagues, despite_cases=True, by=by)
    assert [(outcome.problem, outcome.holds) for outcome in cases.run(audience)] == [(why, False)]
    with pytest.raises(NotPossible, match=why):
        services.add_case(audience, parse_case(case()), by=by)
