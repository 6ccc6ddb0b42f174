"""Other rules for a space: a dry run says what they would come to, and what is applied is what it said."""

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from access.services import COMMAND, NotPossible
from audiences import dry_run_sizes, queries
from destinations import services as destinations
from destinations.models import Caught
from identity import dry_runs, erasure, rule_changes, services, splits
from identity.models import DryRun, Evidence, Identifier, Profile
from identity.rules.policy import DEFAULT_POLICY, Blocked, Definition, Policy, extended
from sources.events import client, timeline
from sources.events.sql import sql
from sources.models import Reject
from spaces import batches
from spaces.batches import advance
from spaces.clock import FixedClock
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.factories_identity import (
    NOON,
    archived,
    as_sets,
    at_ms,
    links,
    message,
    people,
    recorded,
    resolve_log,
    resolved,
    scope,
    stage,
)
from tests.flows.test_gaps import synced
from tests.flows.test_resolve_properties import TYPES, limits, times, values
from tests.flows.test_splits import BUYERS, MINUTE, Killed, Stream, at_the_catcher, by_clickhouse, by_postgresql, drawn
from tests.reference.resolver import Fed, Reference

pytestmark = pytest.mark.django_db

# Group calls name somebody by all rules: one that named its account alone stays the account's.
person_fields = st.fixed_dictionaries(
    {},
    optional={
        "userId": st.sampled_from(["u1", "u2", "u3", "null"]),
        "anonymousId": st.sampled_from([f"a{n}" for n in range(6)]),
        "traits": st.dictionaries(st.sampled_from(["plan", "city", "crm"]), values, max_size=2),
        "properties": st.sampled_from([{"email": "E@x.org"}, {"email": "f@x.org"}, {"crm": "c1"}, {"crm": "c2"}]),
    },
)
member_fields = st.fixed_dictionaries(
    {"userId": st.sampled_from(["u2", "u3"])}, optional={"groupId": st.sampled_from(["g1", "g2"])}
)
events = st.lists(
    st.tuples(st.sampled_from(["track", "identify"]), times, person_fields, st.integers(0, 1))
    | st.tuples(st.just("group"), times, member_fields, st.integers(0, 1)),
    max_size=18,
)
blocked = st.sampled_from([Blocked(), Blocked(("null", "u1", "a1", "e@x.org"), ("^c2$",))])
policies = st.just(DEFAULT_POLICY) | st.builds(
    lambda order, each, blocks, merges, mappings: Policy(
        (
            *(Definition(type, limit, block) for type, limit, block in zip(order, each, blocks, strict=True)),
            Definition("group_id"),
        ),
        merges,
        mappings,
    ),
    st.permutations([type for type in TYPES if type != "group_id"]),
    st.lists(limits, min_size=4, max_size=4),
    st.lists(blocked, min_size=4, max_size=4),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([2, 4, 1000]),
)
quick = settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def tried(space, policy):
    dry_run = services.try_rules(space, policy)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("done", "")
    return dry_run


def applied(dry_run):
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    resolved(dry_run.space, stage(live_rows=5))
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("applied", "")


def sets_of(profiles):
    return [profile.identifiers for profile in profiles]


def expected_figures(before, after):
    """From who is who by the slow resolver, under the old rules and under the new ones."""
    old, new = sets_of(before), sets_of(after)
    homes = [[one for one in new if own & one] for own in old]
    taken = [one for own in homes for one in own]
    everybody = frozenset().union(*old)
    same = {(profile.identifiers, profile.messages) for profile in after}
    return {
        "before": len(old),
        "after": len(new),
        "unchanged": sum((profile.identifiers, profile.messages) in same for profile in before),
        "merged": sum(any(taken.count(one) > 1 for one in own) for own in homes),
        "split": sum(len(own) > 1 for own in homes),
        "gone": sum(not own for own in homes),
        "new": sum(not (one & everybody) for one in new),
    }


def slow(stream, policy, split=(), moved=()):
    """The slow resolver, with the events in the order of their first resolve; those that nobody had at the end."""
    reference = Reference(policy.to_json(), split, moved)
    rest = [(at_ms(one), key[0], piece, key) for key, (piece, one) in stream.sent.items() if key not in stream.order]
    for key in [*stream.order, *(key for *_, key in sorted(rest))]:
        piece, one = stream.sent[key]
        reference.feed(Fed(one, key[1], at_ms(one), (key[0], piece, 0)))
    return reference


class Tried(Stream):
    def notes(self):
        """In which order events came to somebody since."""
        self.order += [key for row in recorded(self.space) if (key := (row.source, row.message_id)) not in self.order]

    def becomes(self, policy, *by_hand):
        """Its people by the slow resolver under other rules, as sets."""
        reference = slow(self, policy, *by_hand)
        return as_sets(reference.profiles()), reference.links()


@quick
@given(policies, policies, events)
def test_figures_are_those_of_the_slow_resolver_under_the_new_rules(old, new, stream):
    space = Tried(old)
    space.send(stream)
    graph = people(space.space), links(space.space), by_postgresql(space.space)
    result = tried(space.space, new).result
    expected = expected_figures(slow(space, old).profiles(), slow(space, new).profiles())
    assert {name: result[name] for name in expected} == expected
    assert (people(space.space), links(space.space), by_postgresql(space.space)) == graph


@quick
@given(policies, policies, events, events)
def test_applied_rules_end_where_the_slow_resolver_ends_under_them(old, new, before, after):
    space = Tried(old)
    space.send(before)
    applied(tried(space.space, new))
    space.notes()
    assert (people(space.space), links(space.space)) == space.becomes(new)
    assert by_clickhouse(space.space) == by_postgresql(space.space)
    space.send(after)
    assert (people(space.space), links(space.space)) == space.becomes(new)
    # And nothing is left to be applied.
    assert tried(space.space, new).result["toMove"] == 0


@settings(quick, max_examples=8)
@given(policies, policies, events, events, st.data())
def test_moves_stay_when_rules_are_applied(old, new, before, after, data):
    space = Tried(old)
    space.send(before)
    if (move := drawn(space, data)) is None:
        return
    number, taken, left, home = move
    space.split(taken, left, number, moved_to=[home])
    by_hand = [(taken, left)], [(one, home) for one in sorted(taken)]
    assert tried(space.space, old).result["toMove"] == 0
    applied(tried(space.space, new))
    space.notes()
    space.send(after)
    assert (people(space.space), links(space.space)) == space.becomes(new, *by_hand)


# what follows from it

SHARED = "team@example.org"
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
NO_TEAM = msgspec.structs.replace(
    DEFAULT_POLICY,
    identifiers=tuple(
        Definition(one.type, one.limit, Blocked((SHARED,))) if one.type == "email" else one
        for one in DEFAULT_POLICY.identifiers
    ),
)


def team():
    """Two people whom a mailbox made one, one whom it did not, and a stranger."""
    world = World()
    mailbox = {"properties": {"email": SHARED}}
    world.sent(
        message("identify", anonymousId="a1", traits={"name": "Ann", "plan": "pro"}),
        message("identify", anonymousId="a2", traits={"name": "Bob"}),
        message(anonymousId="a1", event="Ordered", **mailbox),
        message(anonymousId="a2", event="Seen", **mailbox),
        message(userId="eve", anonymousId="a3", event="Ordered"),
    )
    return world


HALF = {"kind": "split", "name": "winter", "to": 50}


def buyers_of(world):
    buyers = world.audience("buyers", BUYERS, include_anonymous=True)
    known = world.audience("known", {"kind": "audience", "key": "buyers"})
    pro = world.audience("pro", PRO, include_anonymous=True)
    seen = world.audience("seen", BUYERS | {"name": "Seen"}, include_anonymous=True)
    half = world.audience("half", HALF, include_anonymous=True)
    world.computed()
    return buyers, known, pro, seen, half


def with_sizes(dry_run, world):
    assert dry_runs.run(dry_run.pk, world.clock, dry_run_sizes.sizes)
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("done", "")
    return {size["name"]: (size["before"], size["after"]) for size in dry_run.result["audiences"]}


def test_sizes_of_audiences_are_those_that_there_are_once_the_rules_are_applied():
    world = team()
    audiences = buyers_of(world)
    dry_run = services.try_rules(world.space, NO_TEAM)
    rows = client.rows(sql("SELECT count() FROM timeline"))
    sizes = with_sizes(dry_run, world)
    assert client.rows(sql("SELECT count() FROM timeline")) == rows
    before = {audience.key: len(queries.members(audience)) for audience in audiences}
    assert {name: size[0] for name, size in sizes.items()} == before
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, world.clock)
    resolved(world.space)
    world.later(MINUTE)
    after = {audience.key: len(queries.members(audience)) for audience in audiences}
    assert {name: size[1] for name, size in sizes.items()} == after
    assert before != after


def test_whoever_asks_about_an_audience_that_has_no_answer_has_none_either(monkeypatch):
    world = team()
    buyers_of(world)
    answer = queries.answer

    def but_buyers(scope, asked, known):
        if asked[0].key == "buyers":
            raise queries.Unanswerable("It took too long.")
        return answer(scope, asked, known)

    monkeypatch.setattr(queries, "answer", but_buyers)
    sizes = with_sizes(services.try_rules(world.space, NO_TEAM), world)
    assert sizes["buyers"][1] is None
    assert sizes["known"][1] is None  # and not a figure that counts nobody of these people
    assert sizes["pro"][1] is not None


def test_destinations_are_told_of_the_difference_alone():
    world = team()
    buyers = world.audience("buyers", BUYERS, include_anonymous=True)
    world.computed()
    subscription = destinations.subscribe(buyers, make_destination(world.space), options={}, by=COMMAND)
    synced(subscription, world.clock)
    before = at_the_catcher(subscription)
    told = Caught.objects.count()
    dry_run = services.try_rules(world.space, NO_TEAM)
    assert dry_runs.run(dry_run.pk, world.clock)
    services.apply_rules(DryRun.objects.get(pk=dry_run.pk))
    assert dry_runs.run(dry_run.pk, world.clock)
    resolved(world.space)
    synced(subscription, world.clock)
    assert at_the_catcher(subscription) == before  # resolved and not evaluated: nobody is told to leave
    world.later(MINUTE)
    synced(subscription, world.clock)
    assert before - at_the_catcher(subscription) == {("anonymous_id", "a2"), ("email", SHARED)}
    assert world.members(buyers) == world.asked(buyers)
    # Of these two, each by an identify and a track; of nobody else, and nobody entered.
    since = [caught.body for caught in Caught.objects.order_by("pk")[told:]]
    assert [body.get("event") or body["traits"]["buyers"] for body in since] == [False, "Audience Exited"] * 2


@pytest.mark.parametrize("place", ["prepared", "written", "committed"])
def test_whoever_dies_while_rules_are_applied_loses_nothing(place, monkeypatch):
    monkeypatch.setattr(splits, "MOST_PROFILES", 4)  # so that there are several parts
    space = Tried(DEFAULT_POLICY)
    space.send(
        [("track", 3 * n, {"anonymousId": f"a{n}", "userId": f"u{n}"}, 0) for n in range(4)]
        + [("track", 3 * n + 1, {"anonymousId": f"b{n}", "userId": f"u{n}"}, 1) for n in range(4)]
    )
    one_each = msgspec.structs.replace(DEFAULT_POLICY, max_mappings=2)
    dry_run = tried(space.space, one_each)
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.parts_total) == ("moving", 2)
    deaths = 0

    def die(point):
        if point == f"resolve:{place}":
            raise Killed(point)

    for _ in range(2):  # in each part
        with monkeypatch.context() as patched:
            patched.setattr(batches, "reach", die)
            with pytest.raises(Killed):
                advance(stage(), resolve_log(space.space))
        deaths += 1
        if place != "committed":
            advance(stage(), resolve_log(space.space))
    resolved(space.space, stage())
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.parts_done, deaths) == ("applied", 2, 2)
    assert (people(space.space), links(space.space)) == space.becomes(one_each)
    assert by_clickhouse(space.space) == by_postgresql(space.space)


def test_whoever_took_over_in_the_middle_writes_no_rows_of_another_part(monkeypatch):
    monkeypatch.setattr(splits, "MOST_PROFILES", 4)
    space = Tried(DEFAULT_POLICY)
    space.send(
        [
            ("track", n, {"anonymousId": f"a{n}", "userId": f"u{n}", "properties": {"email": SHARED}}, 0)
            for n in range(1)
        ]
        + [("track", 9 + n, {"anonymousId": f"b{n}", "userId": f"v{n}"}, 0) for n in range(4)]
        + [("track", 20 + n, {"anonymousId": f"c{n}", "userId": f"v{n}"}, 0) for n in range(4)]
    )
    two = msgspec.structs.replace(DEFAULT_POLICY, max_mappings=2)
    dry_run = tried(space.space, two)
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    one, other = stage(), stage()

    def killed_at(point, using):
        def die(reached):
            if reached == point:
                raise Killed(point)

        with monkeypatch.context() as patched:
            patched.setattr(batches, "reach", die)
            with pytest.raises(Killed):
                advance(using, resolve_log(space.space))

    killed_at("resolve:written", one)  # it remembers the rows of the first part
    advance(other, resolve_log(space.space))
    killed_at("resolve:prepared", other)
    resolved(space.space, one)
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("applied", "")
    assert dry_run.parts_total > 1
    assert (people(space.space), links(space.space)) == space.becomes(two)
    assert by_clickhouse(space.space) == by_postgresql(space.space)


def test_whoever_is_nobody_any_more_leaves_audiences_and_destinations():
    world = World()
    world.sent(message(event="Ordered", properties={"email": SHARED}), message(userId="eve", event="Ordered"))
    buyers = world.audience("buyers", BUYERS, include_anonymous=True)
    world.computed()
    subscription = destinations.subscribe(buyers, make_destination(world.space), options={}, by=COMMAND)
    synced(subscription, world.clock)
    assert at_the_catcher(subscription) == {("email", SHARED), ("user_id", "eve")}
    dry_run = services.try_rules(world.space, NO_TEAM)
    assert with_sizes(dry_run, world) == {"buyers": (2, 1)}
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, world.clock)
    resolved(world.space)
    world.later(MINUTE)
    synced(subscription, world.clock)
    assert world.members(buyers) == {"eve"}
    assert at_the_catcher(subscription) == {("user_id", "eve")}


def test_events_that_come_while_rules_are_applied_are_resolved_by_them():
    space = Tried(DEFAULT_POLICY)
    space.send([("track", 0, {"properties": {"email": SHARED}, "anonymousId": "a1"}, 0)])
    dry_run = tried(space.space, NO_TEAM)
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    # Before resolve comes to the part: somebody who is linked to its people only now.
    one = message("track", id="late", at=5, userId="u1", anonymousId="a1", properties={"email": SHARED})
    space.sent[space.sources[0].pk, "late"] = (archived(space.sources[0], one), one)
    resolved(space.space)
    space.notes()
    assert (people(space.space), links(space.space)) == space.becomes(NO_TEAM)


def test_whoever_came_to_be_linked_to_a_part_before_its_turn_is_resolved_with_it():
    space = Tried(DEFAULT_POLICY)
    space.send([("track", 0, {"anonymousId": "a1", "properties": {"crm": "c1"}}, 0)])
    with_crm = extended(DEFAULT_POLICY, Definition("crm"), after="user_id")
    dry_run = tried(space.space, with_crm)
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    DryRun.objects.update(state="stopped")  # so that the event comes first
    space.send([("track", 5, {"userId": "u1", "properties": {"crm": "c1"}}, 0)])
    assert len(people(space.space)) == 2
    DryRun.objects.update(state="moving")
    resolved(space.space)
    assert (people(space.space), links(space.space)) == space.becomes(with_crm)
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("applied", "")


def test_whoever_differs_only_in_what_later_events_go_by_is_resolved_once_more_and_not_shown():
    space = Tried(msgspec.structs.replace(DEFAULT_POLICY, max_mappings=1))
    pair = {"userId": "u1", "anonymousId": "a1"}
    space.send([("track", 0, pair, 0)])
    services.change_policy(space.space, None)
    space.send([("track", 9, pair, 0)])
    dry_run = tried(space.space, None)
    assert {name: dry_run.result[name] for name in ("unchanged", "differing", "toMove")} == {
        "unchanged": 1,
        "differing": 0,
        "toMove": 1,
    }
    applied(dry_run)
    assert {at_ms(message(at=0))} == {
        round(row.first_seen_at.timestamp() * 1000) for row in Identifier.objects.filter(space=space.space)
    }


def test_whoever_is_nobody_any_more_is_gone_and_their_events_are_rejects_that_can_come_back():
    space = Tried(DEFAULT_POLICY)
    space.send([("track", 0, {"properties": {"email": SHARED}}, 0), ("track", 1, {"userId": "u1"}, 0)])
    dry_run = tried(space.space, NO_TEAM)
    assert {name: dry_run.result[name] for name in ("before", "after", "gone", "nobodys")} == {
        "before": 2,
        "after": 1,
        "gone": 1,
        "nobodys": 1,
    }
    applied(dry_run)
    assert Profile.objects.filter(space=space.space).count() == 1
    assert not Evidence.objects.filter(space=space.space, identifiers__contains=[["email", SHARED]]).exists()
    assert Reject.objects.get(space=space.space).code == "no_identifiers"
    applied(tried(space.space, DEFAULT_POLICY))
    assert not Reject.objects.filter(space=space.space).exists()
    assert (people(space.space), links(space.space)) == space.becomes(DEFAULT_POLICY)


def test_a_group_call_that_names_nobody_any_more_is_its_accounts_alone():
    space = Tried(DEFAULT_POLICY)
    space.send([("group", 0, {"userId": "u1", "groupId": "g1"}, 0), ("track", 1, {"userId": "u2"}, 0)])
    no_u1 = msgspec.structs.replace(
        DEFAULT_POLICY,
        identifiers=(Definition("user_id", blocked=Blocked(("u1",))), *DEFAULT_POLICY.identifiers[1:]),
    )
    applied(tried(space.space, no_u1))
    assert (people(space.space), links(space.space)) == space.becomes(no_u1)
    assert len(people(space.space, Profile.Kind.ACCOUNT)) == 1
    assert [row.message_id for row in recorded(space.space)].count("m0") == 1
    account = Profile.objects.get(space=space.space, kind=Profile.Kind.ACCOUNT)
    assert len(timeline.events_of(scope(space.space), [account.number], limit=10)) == 1


def test_identifiers_of_events_that_are_not_kept_any_more_stay_with_the_rest():
    space = Tried(DEFAULT_POLICY)
    space.send(
        [
            ("identify", 0, {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}}, 0),
            ("track", 10, {"anonymousId": "a2", "userId": "u1", "properties": {"email": SHARED}}, 0),
        ]
    )
    for table in ("timeline", "profile_events"):
        client.run(sql(f"DELETE FROM {table} WHERE space = %s AND message_id = 'm0'", space.space.pk))
    applied(tried(space.space, NO_TEAM))
    held = Identifier.objects.filter(space=space.space).exclude(profile=0).values_list("value", flat=True)
    assert sorted(held) == ["a1", "a2", "u1"]
    assert by_clickhouse(space.space) == by_postgresql(space.space) == {1: (1, {"plan": "pro"})}


def test_rules_that_reach_too_far_are_not_applied_and_say_so(monkeypatch):
    monkeypatch.setattr(rule_changes, "MOST_MOVED", 1)
    space = Tried(DEFAULT_POLICY)
    space.send([("track", n, {"userId": f"u{n}", "anonymousId": f"a{n}"}, 0) for n in range(2)])
    dry_run = tried(space.space, msgspec.structs.replace(DEFAULT_POLICY, max_mappings=1))
    assert dry_run.result["whyNot"] == "More than 1 profiles would be others."
    with pytest.raises(NotPossible, match="too much to be resolved once more in parts"):
        services.apply_rules(dry_run)
    space.space.refresh_from_db()
    assert space.space.identity_policy is None


def test_what_is_stopped_goes_on_and_other_rules_stop_it():
    space = Tried(DEFAULT_POLICY)
    space.send([("track", n, {"userId": "u1", "anonymousId": f"a{n}"}, 0) for n in range(2)])
    two = msgspec.structs.replace(DEFAULT_POLICY, max_mappings=2)
    dry_run = tried(space.space, two)
    services.apply_rules(dry_run)
    services.stop_dry_run(dry_run)
    assert (dry_run.state, dry_run.error) == ("stopped", "It was stopped by hand.")
    assert resolved(space.space) == 0
    applied(dry_run)
    assert (people(space.space), links(space.space)) == space.becomes(two)
    back = tried(space.space, DEFAULT_POLICY)
    services.apply_rules(back)
    services.change_policy(space.space, two)
    back.refresh_from_db()
    assert (back.state, back.error) == ("stopped", "The rules were changed meanwhile.")


def test_a_dry_run_that_is_cancelled_while_it_runs_says_nothing(monkeypatch):
    space = Tried(DEFAULT_POLICY)
    space.send([("track", 0, {"userId": "u1"}, 0)])
    dry_run = services.try_rules(space.space, NO_TEAM)
    monkeypatch.setattr(dry_runs, "_gone", lambda *_: [services.stop_dry_run(DryRun.objects.get(pk=dry_run.pk))][1:])
    assert not dry_runs.run(dry_run.pk, FixedClock(NOON))
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.result) == ("cancelled", {})
    assert dry_runs.due() == []


def test_a_space_in_the_middle_of_a_batch_is_waited_for(monkeypatch):
    space = Tried(DEFAULT_POLICY)
    space.send([("track", 0, {"userId": "u1"}, 0)])
    one = message("track", id="late", at=5, userId="u2")
    archived(space.sources[0], one)

    def die(point):
        if point == "resolve:prepared":
            raise Killed(point)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "reach", die)
        with pytest.raises(Killed):
            advance(stage(), resolve_log(space.space))
    dry_run = services.try_rules(space.space, NO_TEAM)
    assert not dry_runs.run(dry_run.pk, FixedClock(NOON))
    resolved(space.space)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))


def test_a_dry_run_that_names_somebody_who_is_erased_goes_with_them():
    world = team()
    dry_run = services.try_rules(world.space, NO_TEAM)
    assert dry_runs.run(dry_run.pk, world.clock)
    for value, left in (("eve", 1), ("a1", 0)):
        (number,) = Identifier.objects.filter(space=world.space, value=value).values_list("profile", flat=True)
        assert erasure.erase_people(world.space, [], BitMap([number]), clock=world.clock, keep=lambda *_: None)
        assert DryRun.objects.count() == left


def test_old_dry_runs_go_and_those_under_way_stay():
    space = Tried(DEFAULT_POLICY)
    old = [services.try_rules(space.space, NO_TEAM)]
    services.stop_dry_run(old[0])
    running = services.try_rules(space.space, NO_TEAM)
    DryRun.objects.update(created_at=NOON - dry_runs.KEPT - MINUTE)
    dry_runs.sweep(NOON)
    assert [dry_run.pk for dry_run in DryRun.objects.all()] == [running.pk]


def test_a_long_dry_run_makes_way_for_others_and_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(dry_runs, "ROUND_S", 0)
    monkeypatch.setattr(dry_runs, "READ_AT_ONCE", 1)
    space = Tried(DEFAULT_POLICY)
    space.send([("track", n, {"userId": f"u{n}", "properties": {"email": SHARED}}, 0) for n in range(2)])
    dry_run = services.try_rules(space.space, NO_TEAM)
    turns, seen = 0, []
    while dry_runs.run(dry_run.pk, FixedClock(NOON)):
        turns += 1
        dry_run.refresh_from_db()
        seen.append(dry_run.done)
    assert (dry_run.state, turns, seen[:2]) == ("done", 5, [1, 2])
    assert not dry_runs._jobs
