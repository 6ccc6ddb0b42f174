"""A profile that is taken apart, and one that is put together again, is what the rules make of all its events."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from access.services import COMMAND
from audiences import future_members
from audiences import queries as audiences
from destinations import queries as destinations
from destinations import services
from destinations.models import Acknowledged
from destinations.split_effects import effects_of
from identity import queries, splits
from identity import services as identity
from identity.models import Identifier, Profile, ProfileSplit
from identity.rules.policy import DEFAULT_POLICY
from sources.events import client, timeline
from sources.events.sql import sql
from spaces import batches
from spaces.batches import advance, open_log, visible
from spaces.models import Replaced
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.factories_identity import (
    archived,
    as_sets,
    at_ms,
    links,
    listening,
    message,
    people,
    recorded,
    resolve_log,
    resolved,
    stage,
)
from tests.flows.test_gaps import synced
from tests.flows.test_resolve_properties import events, policies, space_with
from tests.reference.resolver import Fed, Reference

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


class Killed(BaseException):
    """No code that catches exceptions catches it."""


def wanted(space, *, taken, left, profile=1, moved_to=()):
    return ProfileSplit.objects.create(
        workspace=space.workspace, space=space, profile=profile, taken=taken, left=left, moved_to=[*moved_to]
    )


class Stream:
    """A space that hears two sources; what it was sent, in the order in which it was resolved first."""

    def __init__(self, policy, size=100):
        self.policy, self.size = policy, size
        self.space, self.sources = space_with(policy)
        for source in self.sources:
            listening(self.space, source)
        self.sent, self.order, self.count = {}, [], 0

    def send(self, stream):
        for type, at, more, which in stream:
            source = self.sources[which]
            one = message(type, id=f"m{self.count}", at=at, **more)
            self.count += 1
            self.sent[source.pk, one["messageId"]] = (archived(source, one), one)
        resolved(self.space, stage(live_rows=self.size))
        self.order += [key for row in recorded(self.space) if (key := (row.source, row.message_id)) not in self.order]

    def split(self, taken, left, profile=1, moved_to=()):
        wish = wanted(self.space, taken=sorted(taken), left=sorted(left), profile=profile, moved_to=moved_to)
        resolved(self.space)
        wish.refresh_from_db()
        assert (wish.state, wish.error) == ("done", "")
        return wish

    def undo(self, wish):
        ProfileSplit.objects.filter(pk=wish.pk).update(state="unwanted")
        resolved(self.space)
        wish.refresh_from_db()
        assert (wish.state, wish.error) == ("undone", "")

    def expected(self, *split, moved=()):
        slow = Reference(self.policy.to_json(), split, moved)
        for key in [*self.order, *(self.sent.keys() - set(self.order))]:
            piece, one = self.sent[key]
            slow.feed(Fed(one, key[1], at_ms(one), (key[0], piece, 0)))
        return as_sets(slow.profiles()), as_sets(slow.accounts()), slow.links()

    def is_as(self, *split, moved=()):
        assert len(recorded(self.space)) == len(self.order)
        assert (people(self.space), people(self.space, Profile.Kind.ACCOUNT), links(self.space)) == self.expected(
            *split, moved=moved
        )
        assert by_clickhouse(self.space) == by_postgresql(self.space)


def by_postgresql(space):
    alive = Profile.objects.filter(space=space, merged_into=None)
    return {profile.number: (profile.kind, profile.traits) for profile in alive}


def by_clickhouse(space):
    """{number: (kind, traits)}, as audiences read them."""
    seen = timeline.Scope(space.workspace_id, space.pk, visible(resolve_log(space)))
    newest = "SELECT loser, argMax(winner, piece) FROM overlay WHERE %s GROUP BY loser"
    winners = dict(client.rows(sql(newest, seen.rows("loser"))))
    kinds = client.rows(sql("SELECT profile, kind FROM profiles WHERE %s", seen.rows()))
    known = {winners.get(number, number): (kind, {}) for number, kind in kinds}
    place = "ts, source, origin_piece, origin_position"
    rows = client.rows(sql(f"SELECT profile, key, value FROM traits WHERE %s ORDER BY {place}", seen.rows()))
    for number, key, value in rows:
        known[winners.get(number, number)][1][key] = json.loads(value)
    return {
        number: (kind, {key: value for key, value in traits.items() if value is not None})
        for number, (kind, traits) in known.items()
    }


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(policies, events, events, st.data())
def test_a_split_and_its_undoing_are_as_the_slow_resolver_has_them(policy, before, after, data):
    stream = Stream(policy, data.draw(st.sampled_from([1, 3, 100])))
    stream.send(before)
    stream.is_as()
    held = {}
    for profile, type, value in Identifier.objects.filter(space=stream.space).values_list("profile", "type", "value"):
        held.setdefault(profile, []).append((type, value))
    several = [number for number, own in held.items() if len(own) > 1]
    if not several:
        return
    number = data.draw(st.sampled_from(sorted(several)))
    own = sorted(held[number])
    taken = set(data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=len(own) - 1, unique=True)))
    left = set(own) - taken
    note(f"{taken} from {left}")
    wish = stream.split(taken, left, number)
    stream.is_as((taken, left))
    stream.send(after)
    stream.is_as((taken, left))
    stream.undo(wish)
    stream.is_as()


def drawn(stream, data):
    """(number, taken, left, home): a move of some identifiers of a profile to another one; None where there is none."""
    people = Profile.objects.filter(space=stream.space, merged_into=None, kind=Profile.Kind.USER)
    rows = Identifier.objects.filter(space=stream.space, profile__in=people.values("number"))
    held = {}
    for profile, type, value in rows.values_list("profile", "type", "value"):
        held.setdefault(profile, []).append((type, value))
    if len(held) < 2:
        return None
    number, other = data.draw(st.permutations(sorted(held)))[:2]
    own = sorted(held[number])
    taken = set(data.draw(st.lists(st.sampled_from(own), min_size=1, unique=True)))
    home = data.draw(st.sampled_from(sorted(held[other])))
    note(f"{taken} from {number} to {home}")
    return number, taken, set(own) - taken, home


few = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@few
@given(policies, events, events, st.data())
def test_a_move_and_its_undoing_are_as_the_slow_resolver_has_them(policy, before, after, data):
    stream = Stream(policy, data.draw(st.sampled_from([1, 3, 100])))
    stream.send(before)
    if (move := drawn(stream, data)) is None:
        return
    number, taken, left, home = move
    moved, ids_before = [(one, home) for one in sorted(taken)], ids(stream.space)
    wish = stream.split(taken, left, number, moved_to=[home])
    stream.is_as((taken, left), moved=moved)
    if more := data.draw(st.booleans()):
        stream.send(after)
        stream.is_as((taken, left), moved=moved)
    stream.undo(wish)
    stream.is_as()
    # Others may have been made meanwhile; those that were there lead to where they led.
    assert more or ids(stream.space) | ids_before == ids(stream.space)


@few
@given(policies, events, events, st.data())
def test_splits_and_moves_one_after_the_other_are_undone_in_any_order(policy, before, after, data):
    stream, done = Stream(policy), []

    def is_right():
        stream.is_as(*(split for split, _, _ in done), moved=[pair for _, moved, _ in done for pair in moved])

    stream.send(before)
    for part in ([], after, []):
        if (move := drawn(stream, data)) is None:
            return
        number, taken, left, home = move
        is_moved = not left or data.draw(st.booleans())
        wish = stream.split(taken, left, number, moved_to=[home] * is_moved)
        done.append(((taken, left), [(one, home) for one in sorted(taken)] * is_moved, wish))
        stream.send(part)
        is_right()
    while done:
        *_, wish = done.pop(data.draw(st.integers(0, len(done) - 1)))
        stream.undo(wish)
        is_right()


def ids(space):
    """By id the identifiers of whom it leads to."""
    held = {}
    for type, value, profile in Identifier.objects.filter(space=space).values_list("type", "value", "profile"):
        held.setdefault(profile, set()).add((type, value))
    rows = Profile.objects.filter(space=space).values_list("public_id", "number", "merged_into")
    return {id: held.get(merged_into or number) for id, number, merged_into in rows}


def stream_of(*messages, policy=DEFAULT_POLICY):
    stream = Stream(policy)
    stream.send([(type, at, more, 0) for at, (type, more) in enumerate(messages)])
    return stream


U1, U2, A1, A2 = ("user_id", "u1"), ("user_id", "u2"), ("anonymous_id", "a1"), ("anonymous_id", "a2")
SEEN_TOGETHER = ("track", {"userId": "u1", "anonymousId": "a1"})
SHARED = ("track", {"userId": "u2", "anonymousId": "a1"})
OTHERS = ("track", {"userId": "u2", "anonymousId": "a2"})


def holders(space):
    rows = Identifier.objects.filter(space=space).order_by("type", "value")
    return {(row.type, row.value): row.profile for row in rows}


def test_what_was_refused_because_of_the_link_is_accepted_without_it():
    stream = stream_of(SEEN_TOGETHER, SHARED)
    assert holders(stream.space) == {U1: 1, A1: 1, U2: 2}
    wish = stream.split({A1}, {U1})
    stream.is_as(({A1}, {U1}))
    assert holders(stream.space) == {U1: 1, A1: 2, U2: 2}
    stream.undo(wish)
    stream.is_as()
    assert holders(stream.space) == {U1: 1, A1: 1, U2: 2}


def test_what_is_moved_is_the_other_ones_with_its_events_and_stays_so():
    stream = stream_of(SEEN_TOGETHER, ("track", {"anonymousId": "a1"}), ("track", {"userId": "u2"}))
    assert holders(stream.space) == {U1: 1, A1: 1, U2: 2}
    wish, moved = stream.split({A1}, {U1}, moved_to=[U2]), [(A1, U2)]
    stream.is_as(({A1}, {U1}), moved=moved)
    assert holders(stream.space)[A1] == holders(stream.space)[U2] != holders(stream.space)[U1]
    stream.send([("track", 9, {"anonymousId": "a1"}, 0), ("track", 10, SEEN_TOGETHER[1], 0)])
    stream.is_as(({A1}, {U1}), moved=moved)
    stream.undo(wish)
    stream.is_as()
    assert holders(stream.space) == {U1: 1, A1: 1, U2: 2}


def test_a_move_is_kept_when_its_people_are_resolved_once_more():
    stream = stream_of(
        SEEN_TOGETHER, ("track", {"anonymousId": "a1"}), ("track", {"userId": "u2", "anonymousId": "a2"})
    )
    moved = [(A1, U2)]
    stream.split({A1}, {U1}, moved_to=[U2])
    second = stream.split({A2}, {U2, A1}, 2)
    stream.is_as(({A1}, {U1}), ({A2}, {U2, A1}), moved=moved)
    stream.undo(second)
    stream.is_as(({A1}, {U1}), moved=moved)


def test_what_was_moved_comes_with_its_home_when_that_is_nobodys_yet():
    stream = stream_of(
        SEEN_TOGETHER, ("track", {"anonymousId": "a1"}), ("track", {"userId": "u2", "anonymousId": "a2"})
    )
    stream.split({A1}, {U1}, moved_to=[A2])
    stream.split({A2}, {U2}, 2)
    assert holders(stream.space)[A2] == 0 != holders(stream.space)[A1]
    stream.send([("track", 9, {"anonymousId": "a2"}, 0)])
    assert holders(stream.space)[A2] == holders(stream.space)[A1]
    stream.is_as(({A1}, {U1}), ({A2}, {U2}), moved=[(A1, A2)])


def test_what_the_rules_refuse_is_not_moved():
    stream = stream_of(SEEN_TOGETHER, OTHERS)
    stream.split({U1}, {A1}, moved_to=[U2])
    stream.is_as(({U1}, {A1}), moved=[(U1, U2)])
    assert len(set(holders(stream.space).values())) == 3


def test_an_identifier_without_events_of_its_own_is_nobodys_until_there_is_one():
    stream = stream_of(SEEN_TOGETHER)
    stream.split({A1}, {U1})
    assert holders(stream.space) == {U1: 1, A1: 0}
    stream.send([("track", 9, {"anonymousId": "a1"}, 0)])
    stream.is_as(({A1}, {U1}))
    assert holders(stream.space) == {U1: 1, A1: 2}


def test_a_merge_is_taken_back_and_the_next_event_does_not_bring_it_back():
    stream = stream_of(
        ("identify", {"userId": "u1", "traits": {"plan": "pro"}}),
        ("identify", {"anonymousId": "a1", "traits": {"plan": "free"}}),
        SEEN_TOGETHER,
    )
    first, second = Profile.objects.filter(space=stream.space).order_by("number").values_list("public_id", flat=True)
    assert holders(stream.space) == {U1: 1, A1: 1}
    wish = stream.split({A1}, {U1})
    alive = Profile.objects.filter(space=stream.space, merged_into=None).order_by("number")
    assert [(row.public_id, row.traits) for row in alive] == [(first, {"plan": "pro"}), (second, {"plan": "free"})]
    stream.send([("track", 9, SEEN_TOGETHER[1], 0)])
    stream.is_as(({A1}, {U1}))
    assert Profile.objects.filter(space=stream.space, merged_into=None).count() == 2
    stream.undo(wish)
    stream.is_as()
    assert queries.profile_of(stream.space, second).public_id == first


def test_traits_and_identifiers_of_events_that_are_not_kept_any_more_stay():
    stream = stream_of(
        ("identify", {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}}),
        ("track", {"anonymousId": "a1"}),
        ("track", {"anonymousId": "a2", "userId": "u1"}),
    )
    for table in ("timeline", "profile_events"):
        client.run(sql(f"DELETE FROM {table} WHERE space = %s AND message_id = 'm0'", stream.space.pk))
    stream.split({A2}, {U1, A1})
    assert holders(stream.space) == {U1: 1, A1: 1, A2: 0}
    assert by_clickhouse(stream.space) == by_postgresql(stream.space) == {1: (1, {"plan": "pro"})}


def test_a_split_that_reaches_too_far_fails_alone_and_says_so(monkeypatch):
    monkeypatch.setattr(splits, "MOST_EVENTS", 1)
    stream = stream_of(SEEN_TOGETHER, SHARED)
    wish = wanted(stream.space, taken=[A1], left=[U1])
    stream.send([("track", 5, {"userId": "u9"}, 0)])
    wish.refresh_from_db()
    assert (wish.state, wish.error) == ("failed", "More than 1 events belong to these people.")
    stream.is_as()


def test_a_fault_of_the_code_fails_the_split_and_not_the_space(monkeypatch):
    stream = stream_of(SEEN_TOGETHER, SHARED)
    monkeypatch.setattr(splits, "_homes", lambda *_: 1 / 0)
    wish = wanted(stream.space, taken=[A1], left=[U1])
    stream.send([("track", 5, {"userId": "u9"}, 0)])
    wish.refresh_from_db()
    assert (wish.state, wish.error) == ("failed", "ZeroDivisionError: division by zero")
    stream.is_as()


@pytest.mark.parametrize("place", ["prepared", "written", "committed"])
def test_whoever_dies_on_the_way_loses_nothing(place, monkeypatch):
    stream = stream_of(SEEN_TOGETHER, ("track", {"anonymousId": "a1"}), SHARED)
    wanted(stream.space, taken=[A1], left=[U1])

    def die(point):
        if point == f"resolve:{place}":
            raise Killed(point)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "reach", die)
        with pytest.raises(Killed):
            advance(stage(), resolve_log(stream.space))
    resolved(stream.space, stage())
    stream.is_as(({A1}, {U1}))


def test_old_rows_go_once_nobody_can_be_reading_them():
    stream = stream_of(SEEN_TOGETHER, ("track", {"anonymousId": "a1"}), SHARED)
    stream.split({A1}, {U1})
    everything = sql("SELECT count() FROM profile_events WHERE space = %s", stream.space.pk)
    assert client.rows(everything) == [(6,)]
    splits.sweep()
    assert client.rows(everything) == [(6,)]
    Replaced.objects.update(since=timezone.now() - splits.KEPT_REPLACED)
    splits.sweep()
    assert client.rows(everything) == [(3,)]
    assert not Replaced.objects.exists()
    stream.is_as(({A1}, {U1}))


# what follows from it


BUYERS = {"kind": "event", "name": "Ordered", "within": {"days": 30}}


def at_the_catcher(subscription):
    stated = destinations.stated_at_catcher(subscription.destination, subscription.audience.key)
    return {key for key, value in dict(stated).items() if value}


def test_audiences_and_destinations_follow_a_split_and_its_undoing():
    world = World()
    world.sent(
        message(userId="ann", event="Ordered"),
        message(anonymousId="tablet", properties={"email": "bob@example.org"}),
        message(anonymousId="tablet", userId="ann"),
        message(event="Refunded", properties={"email": "bob@example.org"}),
    )
    buyers = world.audience("buyers", BUYERS)
    refunded = world.audience("refunded", BUYERS | {"name": "Refunded"})
    world.computed()
    subscriptions = [
        synced(services.subscribe(audience, make_destination(world.space), options={}, by=COMMAND), world.clock)
        for audience in (buyers, refunded)
    ]
    ann, tablet, bob = ("user_id", "ann"), ("anonymous_id", "tablet"), ("email", "bob@example.org")
    assert [at_the_catcher(each) for each in subscriptions] == [{ann, bob}, {ann, bob}]
    wish = ProfileSplit.objects.create(
        workspace=world.space.workspace, space=world.space, profile=1, taken=[tablet, bob], left=[ann]
    )

    def followed():
        resolved(world.space)
        # Resolved and not evaluated: nobody is told to leave who is a member all the time.
        early = [synced(each, world.clock) and at_the_catcher(each) for each in subscriptions]
        world.later(MINUTE)
        for each in subscriptions:
            synced(each, world.clock)
        return early, [at_the_catcher(each) for each in subscriptions]

    assert followed() == ([{ann, bob}, {ann, bob}], [{ann}, {bob}])
    for audience in (buyers, refunded):
        assert world.members(audience) == world.asked(audience)
    ProfileSplit.objects.filter(pk=wish.pk).update(state="unwanted")
    assert followed()[1] == [{ann, bob}, {ann, bob}]


def effects(world, taken, to=None):
    """{audience: (names of the parts, {destination: (enter, leave)})} as a preview says it, by their first identifiers,
    and the parts."""
    profile = Profile.objects.get(space=world.space, number=1)
    again = identity.resolve_with(profile, taken, to)
    named = {part.number: part.identifiers[0][1] for part in again.parts}
    return {
        effect.name: ({named[number] for number in effect.after}, [(set(t.enter), set(t.leave)) for t in effect.told])
        for effect in effects_of(again, world.clock.now())
    }


def in_fact(world, audience):
    """The first identifiers of its members."""
    rows = Identifier.objects.filter(space=world.space, profile__in=[*audiences.members(audience)]).order_by("-number")
    return set({row.profile: row.value for row in rows}.values())


def acknowledged(subscription):
    """The identifiers that are in over there. (A call of an address has an anonymous id beside it, for want of a user
    id: so the catcher may know one more.)"""
    rows = Acknowledged.objects.filter(subscription=subscription, state=Acknowledged.State.IN)
    held = Identifier.objects.filter(space=subscription.space_id, number__in=rows.values("identifier"))
    return set(held.values_list("type", "value"))


DEFINITIONS = {
    "buyers": BUYERS,
    "refunded": BUYERS | {"name": "Refunded"},
    "twice": BUYERS | {"atLeast": 2},
    "pro": {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"},
    "half": {"kind": "split", "name": "summer", "to": 50},
    "buyers in half": {"all": [{"kind": "audience", "key": "buyers"}, {"kind": "audience", "key": "half"}]},
}


PRO = {"trait": "plan", "operator": "is", "value": "pro"}


@pytest.mark.parametrize("to", [None, "cat"])
def test_the_preview_of_a_split_is_what_comes_of_it(to):
    world = World()
    world.sent(
        message("identify", userId="ann", traits={"plan": "free"}),
        message(userId="ann", event="Ordered"),
        message("identify", anonymousId="tablet", traits={"plan": "pro", "email": "bob@example.org"}),
        message(anonymousId="tablet", event="Ordered"),
        message(anonymousId="tablet", userId="ann"),
        message(event="Refunded", properties={"email": "bob@example.org"}),
        message(userId="cat", event="Ordered"),
    )
    made = {name: world.audience(name, definition) for name, definition in DEFINITIONS.items()}
    world.computed()
    subscriptions = {
        name: synced(services.subscribe(audience, make_destination(world.space), options={}, by=COMMAND), world.clock)
        for name, audience in made.items()
    }
    made["some buyers"] = world.audience("some buyers", BUYERS, include_anonymous=True)
    world.computed()
    sending = {"identifiers": [{"type": "anonymous_id"}, {"type": "email", "which": "last"}], "only": [PRO]}
    some = services.subscribe(
        made["some buyers"], make_destination(world.space), options={}, sending=sending, by=COMMAND
    )
    subscriptions["some buyers"] = synced(some, world.clock)
    before = {name: acknowledged(subscription) for name, subscription in subscriptions.items()}
    taken = [("anonymous_id", "tablet"), ("email", "bob@example.org")]
    target = to and Profile.objects.get(space=world.space, number=3)
    preview = effects(world, taken, target)
    assert {name for name, (_, told) in preview.items() if told} >= {"refunded", "twice"}
    identity.split(Profile.objects.get(space=world.space, number=1), taken, to=target)
    resolved(world.space)
    world.later(MINUTE)
    for name, audience in made.items():
        parts, told = preview.get(name, (set(), []))
        unconcerned = set() if to else {"cat"}
        assert parts == in_fact(world, audience) - unconcerned, name
        synced(subscriptions[name], world.clock)
        after = acknowledged(subscriptions[name])
        changes = (after - before[name], before[name] - after)
        assert told == ([changes] if any(changes) else []), name


def test_a_preview_says_what_it_cannot_know(monkeypatch):
    world = World()
    world.sent(message(userId="ann", event="Ordered"), message(anonymousId="a"), message(anonymousId="a", userId="ann"))
    world.audience("buyers", BUYERS)
    past = {"kind": "audience", "key": "buyers", "entered": {"days": 3}}
    world.audience("lately", past)
    world.computed()
    again = identity.resolve_with(Profile.objects.get(space=world.space, number=1), [("anonymous_id", "a")])
    why = {effect.name: effect.why for effect in effects_of(again, world.clock.now())}
    assert why == {"buyers": "", "lately": future_members.ABOUT_THE_PAST}
    monkeypatch.setattr(future_members, "MOST_GIVEN", 2)
    assert effects_of(again, world.clock.now()) is None


def test_windows_close_for_whoever_was_split_off():
    world = World()
    world.sent(
        message(userId="ann", event="Seen"),
        message(anonymousId="tablet", event="Seen"),
        message(anonymousId="tablet", userId="ann", event="Seen"),
        message(anonymousId="tablet", event="Ordered"),
    )
    buyers = world.audience("buyers", BUYERS | {"within": {"minutes": 30}}, include_anonymous=True)
    world.computed()
    world.later(MINUTE)
    wanted(world.space, taken=[("anonymous_id", "tablet")], left=[("user_id", "ann")])
    resolved(world.space)
    world.later(MINUTE)
    assert [*audiences.members(buyers)] == [2]
    world.later(timedelta(minutes=29))
    assert [*audiences.members(buyers)] == []


def test_a_tick_that_began_before_a_split_counts_for_nothing():
    world = World()
    world.sent(message(userId="ann", event="Ordered"), message(anonymousId="a"), message(anonymousId="a", userId="ann"))
    buyers = world.audience("buyers", BUYERS)
    world.computed()
    world.did("ann", "Ordered")
    log = open_log(stage="evaluate", partition=world.space.pk, workspace_id=world.space.workspace_id)
    tick = world.stage.read(log, 1)
    wanted(world.space, taken=[("anonymous_id", "a")], left=[("user_id", "ann")])
    resolved(world.space)
    with transaction.atomic():
        assert world.stage.prepare(log, tick, 99) is None
    world.ticked()
    assert [*audiences.members(buyers)] == [1]
