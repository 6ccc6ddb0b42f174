"""The sync stage against a real server on loopback, a real PostgreSQL and a real ClickHouse."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from pyroaring import BitMap

from access.services import COMMAND, NotPossible
from audiences.models import Audience
from destinations import calls, queries, send, services, sync
from destinations.adapters import adapter_of
from destinations.intake import next_numbers
from destinations.models import Acknowledged, Caught, Destination, Subscription
from destinations.sync import Sync
from identity.models import Identifier, Profile
from personas_site import erasure
from spaces import batches
from spaces.clock import FixedClock
from spaces.models import Log, Space
from spaces.rates import pace
from spaces.secrets import open_sealed, seal
from tests import factories_destinations as made
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, give, make_people, make_person, merge
from tests.receiver import Got, Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
State = Acknowledged.State
Status = Subscription.Status
IN, OUT = Acknowledged.State.IN, Acknowledged.State.OUT


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


@pytest.fixture
def space() -> Space:
    return SpaceFactory()


@pytest.fixture
def audience(space: Space) -> Audience:
    return AudienceFactory(space=space, key="shoppers")


def webhook(audience: Audience, receiver: Receiver, options: Any = None, **settings: Any) -> Subscription:
    destination = made.make_destination(audience.space, "webhook", url=receiver.url, **settings)
    return made.make_subscription(audience, destination, **(options or {"sendIdentify": False}))


def catcher(audience: Audience, **settings: Any) -> Subscription:
    return made.make_subscription(audience, made.make_destination(audience.space, "catcher", **settings))


def log_of(subscription: Subscription) -> Log:
    return batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)


def run(subscription: Subscription, clock: FixedClock, **more: Any) -> Subscription:
    """Until there is nothing to do at this moment. Must come to an end."""
    log = log_of(subscription)
    for _ in range(200):
        if not batches.advance(Sync(clock, **more), log):
            subscription.refresh_from_db()
            return subscription
    raise AssertionError("the stage does not come to rest")


def inside(receiver: Receiver, key: str = "shoppers") -> set[str]:
    """Whom a careful receiver holds: calls deduplicated by message id, the newest per person counting."""
    state: dict[str, bool] = {}
    for message in {message["messageId"]: message for message in receiver.messages()}.values():
        values = message.get("properties") or message["traits"]
        state[message.get("userId") or message.get("anonymousId") or ""] = values[key]
    return {who for who, yes in state.items() if yes}


def state_of(subscription: Subscription) -> dict[str, tuple[int, int]]:
    """{value: (state, flip)}"""
    rows = Acknowledged.objects.filter(subscription=subscription)
    names = dict(Identifier.objects.filter(space=subscription.space_id).values_list("number", "value"))
    return {names.get(row.identifier, "?"): (row.state, row.flip) for row in rows}


def test_nothing_is_sent_before_the_first_compute(space: Space, receiver: Receiver, clock: FixedClock) -> None:
    audience = AudienceFactory(space=space, computed=False)
    change(audience, entered=make_people(space, 3))
    subscription = webhook(audience, receiver)
    assert sync.waiting(clock.now()) == []
    run(subscription, clock)
    assert receiver.got == []
    assert subscription.status == Status.WAITING


def test_the_first_sync_sends_everyone_and_later_ones_only_changes(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = make_people(space, 5)
    change(audience, entered=people)
    subscription = webhook(audience, receiver)
    assert sync.waiting(clock.now()) == [subscription.pk]
    run(subscription, clock)
    assert inside(receiver) == {f"u{n}" for n in range(5)}
    assert (subscription.status, subscription.synced_at) == (Status.IN_STEP, clock.now())
    assert sync.waiting(clock.now()) == []

    receiver.got.clear()
    change(audience, entered=[make_person(space, ("user_id", "new"))], left=[people[0]])
    run(subscription, clock)
    assert {(m["userId"], m["event"]) for m in receiver.messages()} == {
        ("new", "Audience Entered"),
        ("u0", "Audience Exited"),
    }
    assert queries.count_now(subscription) == {"desired": 5, "acknowledged": 5, "maybe": 0, "refused": 0, "due": 0}


def test_a_first_sync_goes_through_everyone_in_pieces(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sync, "batch_size", 4)
    people = make_people(space, 11)
    change(audience, entered=people)
    subscription = webhook(audience, receiver)
    stage, log = Sync(clock), log_of(subscription)
    assert batches.advance(stage, log)
    subscription.refresh_from_db()
    assert (subscription.status, subscription.cursor) == (Status.SYNCING, people[3])
    # While it goes on, someone behind leaves, someone ahead leaves, and someone new comes.
    change(audience, left=[people[0], people[10]], entered=[make_person(space, ("user_id", "late"))])
    run(subscription, clock)
    assert inside(receiver) == {f"u{n}" for n in range(1, 10)} | {"late"}
    assert len(receiver.ids()) == len(set(receiver.ids())) == 12  # nobody enters only to leave


def test_both_calls_are_sent_identify_first(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 20))
    run(webhook(audience, receiver, {"sendTrack": True}), clock)
    for n in range(20):
        mine = [message["type"] for message in receiver.messages() if message["userId"] == f"u{n}"]
        assert mine == ["identify", "track"]


def test_one_call_per_identifier_each_good_for_itself(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    known = make_person(
        space,
        ("user_id", "u1"),
        ("anonymous_id", "a1"),
        ("email", "old@x.org"),
        ("email", "new@x.org"),
        ("ios.id", "d"),
    )
    Profile.objects.filter(space=space, number=known).update(traits={"email": " New@x.org "})
    visitor = make_person(space, ("anonymous_id", "a2"), ("email", "v@x.org"))
    nameless = make_person(space, ("email", "only@x.org"))
    change(audience, entered=[known, visitor, nameless])
    run(webhook(audience, receiver), clock)
    assert {who(message) for message in receiver.messages()} == {
        ("u1", None, "new@x.org"),
        ("u1", None, "old@x.org"),
        (None, "a2", "v@x.org"),
        (None, None, "only@x.org"),
    }
    assert len(receiver.messages()) == 5  # u1 twice with the new address: as itself, and for the address


def test_anonymous_ids_are_sent_where_anonymous_people_count(
    space: Space, receiver: Receiver, clock: FixedClock
) -> None:
    audience = AudienceFactory(space=space, key="shoppers", include_anonymous=True)
    person = make_person(space, ("user_id", "u1"), ("anonymous_id", "a1"), ("anonymous_id", "a2"), ("email", "e@x.org"))
    change(audience, entered=[person])
    run(webhook(audience, receiver), clock)
    assert sorted(map(str, map(who, receiver.messages()))) == sorted(
        map(
            str,
            [
                ("u1", None, "e@x.org"),
                ("u1", None, "e@x.org"),
                (None, "a1", "e@x.org"),
                (None, "a2", "e@x.org"),
            ],
        )
    )


def who(message: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    email = message["context"].get("traits", {}).get("email")
    return message.get("userId"), message.get("anonymousId"), email


def test_a_new_identifier_of_a_member_enters_and_the_others_are_not_repeated(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"))
    change(audience, entered=[person])
    subscription = run(webhook(audience, receiver), clock)
    receiver.got.clear()
    give(space, person, "email", "a@x.org")
    change(audience, refreshed=[person])
    run(subscription, clock)
    assert [who(message) for message in receiver.messages()] == [("u1", None, "a@x.org")]


def test_exits_go_to_exactly_what_was_sent(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"), ("email", "a@x.org"))
    change(audience, entered=[person])
    subscription = run(webhook(audience, receiver), clock)
    entered = [who(message) for message in receiver.messages()]
    receiver.got.clear()
    give(space, person, "email", "b@x.org")  # never sent: it came in the same moment as the exit
    Profile.objects.filter(space=space, number=person).update(traits={"email": "b@x.org"})
    change(audience, left=[person])
    run(subscription, clock)
    assert sorted(map(str, (who(message) for message in receiver.messages()))) == sorted(map(str, entered))
    assert {message["event"] for message in receiver.messages()} == {"Audience Exited"}


def test_someone_who_was_erased_still_leaves(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"))
    change(audience, entered=[person])
    subscription = run(webhook(audience, receiver), clock)
    Identifier.objects.filter(space=space).delete()
    Profile.objects.filter(space=space).delete()
    change(audience, left=[person])
    run(subscription, clock)
    assert inside(receiver) == set()


def test_what_was_said_of_a_loser_leaves_with_the_winner(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    """Even when the identifier itself is gone, and only what was sent still says whose it was."""
    winner, loser = make_person(space, ("user_id", "u1")), make_person(space, ("user_id", "u2"))
    change(audience, entered=[winner, loser])
    subscription = run(webhook(audience, receiver), clock)
    merge(space, loser, winner)
    change(audience, left=[loser], refreshed=[winner])
    run(subscription, clock)
    Identifier.objects.filter(space=space, value="u2").delete()
    change(audience, left=[winner])
    run(subscription, clock)
    assert inside(receiver) == set()


@pytest.mark.parametrize("heard", ["before", "after"])
def test_a_merge_into_a_member_exits_nobody(
    heard: str, space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    """The loser's identifiers belong to a member now, whether or not the audience has heard of the merge."""
    winner, loser = make_person(space, ("user_id", "u1")), make_person(space, ("user_id", "u2"))
    change(audience, entered=[winner, loser])
    subscription = run(webhook(audience, receiver), clock)
    receiver.got.clear()
    if heard == "before":
        change(audience, left=[loser])
        merge(space, loser, winner)
    else:
        merge(space, loser, winner)
        run(subscription, clock)
        change(audience, left=[loser], refreshed=[winner])
    run(subscription, clock)
    assert receiver.got == []
    assert state_of(subscription) == {"u1": (State.IN, 1), "u2": (State.IN, 1)}


def test_between_a_merge_and_the_tick_that_knows_of_it_nothing_is_said(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    """The member went into someone who is not one: who that is now, only the next tick can say."""
    winner, loser = make_person(space, ("user_id", "u1")), make_person(space, ("user_id", "u2"))
    change(audience, entered=[loser])
    subscription = run(webhook(audience, receiver), clock)
    receiver.got.clear()
    merge(space, loser, winner)
    change(audience, refreshed=[loser])  # something else about them came first
    run(subscription, clock)
    assert receiver.got == []
    change(audience, left=[loser])
    run(subscription, clock)
    assert [(m["userId"], m["event"]) for m in receiver.messages()] == [("u2", "Audience Exited")]


def test_a_merge_brings_the_losers_identifiers_in(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    winner, loser = make_person(space, ("user_id", "u1")), make_person(space, ("email", "e@x.org"))
    change(audience, entered=[winner])
    subscription = run(webhook(audience, receiver), clock)
    merge(space, loser, winner)
    change(audience, refreshed=[winner])
    run(subscription, clock)
    assert who(receiver.messages()[-1]) == ("u1", None, "e@x.org")
    assert len(receiver.messages()) == 2


def test_an_address_that_went_to_someone_else_does_not_take_its_old_user_out(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person, other = make_person(space, ("user_id", "u1"), ("email", "e@x.org")), make_person(space, ("user_id", "u2"))
    change(audience, entered=[person])
    subscription = run(webhook(audience, receiver), clock)
    receiver.got.clear()
    Identifier.objects.filter(space=space, value="e@x.org").update(profile=other)  # a merge was undone
    change(audience, refreshed=[person])
    run(subscription, clock)
    assert [(who(m), m["event"]) for m in receiver.messages()] == [((None, None, "e@x.org"), "Audience Exited")]


def test_a_server_error_is_retried_with_the_same_words(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 1))
    receiver.answer = lambda got: Reply(500, b"oh no")
    subscription = run(webhook(audience, receiver), clock)
    assert (subscription.status, subscription.failures) == (Status.RETRYING, 1)
    assert subscription.error == "500 oh no"
    assert state_of(subscription) == {"u0": (State.MAYBE, 1)}
    assert sync.waiting(clock.now()) == []
    assert subscription.retry_at > clock.now()
    receiver.answer = lambda got: Reply(200)
    clock.advance(timedelta(seconds=3))
    assert sync.waiting(clock.now()) == [subscription.pk]
    run(subscription, clock)
    assert (subscription.status, subscription.failures, subscription.error) == (Status.IN_STEP, 0, "")
    assert receiver.got[0].body == receiver.got[1].body
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]
    assert receiver.got[0].headers["webhook-timestamp"] != receiver.got[1].headers["webhook-timestamp"]


def test_waits_grow_while_a_destination_fails(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 1))
    receiver.answer = lambda got: Reply(503)
    subscription = webhook(audience, receiver)
    waits = []
    for _ in range(8):
        run(subscription, clock)
        assert subscription.retry_at is not None
        waits.append((subscription.retry_at - clock.now()).total_seconds())
        clock.at = subscription.retry_at
    assert all(1 * 2**n <= wait <= 2 * 2**n for n, wait in enumerate(waits))
    assert len(receiver.got) == 8


def test_a_call_that_timed_out_is_maybe_and_is_sent_again_under_the_same_id(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_timeouts(monkeypatch)
    change(audience, entered=make_people(space, 1))
    receiver.answer = lambda got: Reply(0)
    subscription = run(webhook(audience, receiver), clock)
    assert state_of(subscription) == {"u0": (State.MAYBE, 1)}
    receiver.answer = lambda got: Reply(200)
    clock.advance(timedelta(seconds=3))
    run(subscription, clock)
    assert state_of(subscription) == {"u0": (State.IN, 1)}
    assert len(receiver.ids()) == 2
    assert len(set(receiver.ids())) == 1


def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    from destinations.rules.contract import DestinationRequest

    monkeypatch.setattr(DestinationRequest, "__init__", quick(DestinationRequest.__init__))


def quick(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs | {"timeout_s": 0.2})

    return init


def test_maybe_and_no_longer_wanted_is_taken_out(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    """The enter may have arrived although the answer was an error, so an exit must follow."""
    people = make_people(space, 1)
    change(audience, entered=people)
    receiver.answer = lambda got: Reply(500)
    subscription = run(webhook(audience, receiver), clock)
    change(audience, left=people)
    receiver.answer = lambda got: Reply(200)
    clock.advance(timedelta(seconds=3))
    run(subscription, clock)
    assert [m["event"] for m in receiver.messages()] == ["Audience Entered", "Audience Exited"]
    assert state_of(subscription) == {"u0": (State.OUT, 2)}


def test_retry_after_is_obeyed(space: Space, audience: Audience, receiver: Receiver, clock: FixedClock) -> None:
    change(audience, entered=make_people(space, 30))
    answered: list[Got] = []

    def busy(got: Got) -> Reply:
        answered.append(got)
        return Reply(429, b"slow down", {"Retry-After": "600"}) if len(answered) > 5 else Reply(200)

    receiver.answer = busy
    subscription = run(webhook(audience, receiver), clock)
    assert subscription.retry_at == clock.now() + timedelta(seconds=600)
    assert len(receiver.got) < 5 + 10  # those under way at that moment, and no others
    clock.advance(timedelta(seconds=599))
    sent = len(receiver.got)
    run(subscription, clock)
    assert (len(receiver.got), sync.waiting(clock.now())) == (sent, [])
    receiver.answer = lambda got: Reply(200)
    clock.advance(timedelta(seconds=1))
    assert run(subscription, clock).status == Status.IN_STEP
    assert inside(receiver) == {f"u{n}" for n in range(30)}


def test_a_receiver_that_takes_only_so_much_is_given_pauses_and_gets_everyone(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    """429 without a word on how long, after every tenth call."""
    change(audience, entered=make_people(space, 40))
    taken: list[datetime] = []

    def limited(got: Got) -> Reply:
        if taken.count(clock.now()) >= 10:
            return Reply(429)
        taken.append(clock.now())
        return Reply()

    receiver.answer = limited
    subscription = run(webhook(audience, receiver), clock)
    assert subscription.retry_at == clock.now() + timedelta(seconds=2)
    for _ in range(20):
        run(subscription, clock)
        clock.advance(timedelta(seconds=2))
    assert subscription.status == Status.IN_STEP
    assert inside(receiver) == {f"u{n}" for n in range(40)}
    assert len(receiver.got) < 40 + 8 * 8  # before each pause at most the calls that were under way are in vain


def test_nobody_listening_costs_a_few_calls_and_leaves_no_maybe(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, settings: Any
) -> None:
    people = make_people(space, 100)
    change(audience, entered=people)
    settings.OUTBOUND_ALLOW = [receiver.place, "127.0.0.1:1"]
    destination = made.make_destination(space, "webhook", url="http://127.0.0.1:1/")
    subscription = run(made.make_subscription(audience, destination), clock)
    lines = queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=space)
    assert len(lines) < 30
    assert {state for state, _ in state_of(subscription).values()} == {State.OUT}
    assert subscription.status == Status.RETRYING


def test_after_an_outage_only_the_net_change_goes_out(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, settings: Any
) -> None:
    people = make_people(space, 4)
    change(audience, entered=people[:2])
    subscription = run(webhook(audience, receiver), clock)
    receiver.got.clear()
    allowed, settings.OUTBOUND_ALLOW = settings.OUTBOUND_ALLOW, []
    unreachable(subscription, settings)
    change(audience, entered=[people[2], people[3]])
    run(subscription, clock)
    change(audience, left=[people[2], people[0]])
    run(subscription, clock)
    change(audience, entered=[people[0]])
    change(audience, left=[people[1]])
    clock.advance(timedelta(hours=1))
    run(subscription, clock)
    settings.OUTBOUND_ALLOW = allowed
    reachable(subscription, receiver)
    clock.advance(timedelta(hours=1))
    run(subscription, clock)
    assert {(m["userId"], m["event"]) for m in receiver.messages()} == {
        ("u3", "Audience Entered"),
        ("u1", "Audience Exited"),
    }
    assert len(receiver.messages()) == 2
    assert subscription.status == Status.IN_STEP


def unreachable(subscription: Subscription, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1:1"]
    point(subscription, "http://127.0.0.1:1/")


def limit_rate(monkeypatch: pytest.MonkeyPatch, per_second: float) -> None:
    adapter = adapter_of("webhook")
    limited = replace(adapter, capabilities=replace(adapter.capabilities, per_second=per_second))
    monkeypatch.setattr(send, "adapter_of", lambda kind: limited)


def test_all_audiences_of_a_destination_share_the_rate_that_its_kind_takes(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rate(monkeypatch, per_second=50)
    paced: list[str] = []
    monkeypatch.setattr(send, "pace", lambda name, **more: paced.append(name) or pace(name, **more))
    first = webhook(audience, receiver)
    other = AudienceFactory(space=space, key="others")
    second = made.make_subscription(other, first.destination, sendIdentify=False)
    change(audience, entered=make_people(space, 4))
    change(other, entered=[make_person(space, ("user_id", f"o{n}")) for n in range(4)])
    run(first, clock)
    run(second, clock)
    assert paced == [f"destination:{first.destination_id}"] * 8
    assert len(receiver.got) == 8
    assert {first.status, second.status} == {Status.IN_STEP}


def test_what_its_rate_leaves_no_time_for_is_sent_by_the_next_batch(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rate(monkeypatch, per_second=4)
    change(audience, entered=make_people(space, 4))
    subscription = webhook(audience, receiver)
    batches.advance(Sync(clock, sending_s=0.1), log_of(subscription))
    assert len(receiver.got) == 2
    assert sorted(state for state, _ in state_of(subscription).values()) == [State.OUT] * 2 + [State.IN] * 2
    assert sync.waiting(clock.now()) == [subscription.pk]
    assert run(subscription, clock).status == Status.IN_STEP
    assert (len(receiver.got), len(inside(receiver))) == (4, 4)


def reachable(subscription: Subscription, receiver: Receiver) -> None:
    point(subscription, receiver.url)


def point(subscription: Subscription, url: str) -> None:
    destination = subscription.destination
    values = open_sealed(destination.settings) | {"url": url}
    Destination.objects.filter(pk=destination.pk).update(settings=seal(values))


def test_a_dead_destination_is_parked_and_others_go_on(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = [receiver.place, "127.0.0.1:1"]
    dead = made.make_subscription(audience, made.make_destination(space, "webhook", url="http://127.0.0.1:1/"))
    alive = webhook(audience, receiver)
    people = make_people(space, 3)
    change(audience, entered=people)
    for _ in range(60):
        run(dead, clock)
        assert dead.retry_at is not None
        if dead.status == Status.PARKED:
            break
        clock.at = dead.retry_at
    assert dead.status == Status.PARKED
    assert dead.retry_at - clock.now() >= timedelta(hours=6)
    run(alive, clock)
    assert alive.status == Status.IN_STEP
    change(audience, left=[people[0]])
    assert sync.waiting(clock.now()) == [alive.pk]  # the parked one costs nothing
    run(alive, clock)
    assert inside(receiver) == {"u1", "u2"}
    # It comes back by the button …
    point(dead, receiver.url)
    receiver.got.clear()
    services.resume(dead, by=services_command())
    assert run(dead, clock).status == Status.IN_STEP
    assert inside(receiver) == {"u1", "u2"}


def test_a_parked_destination_that_is_back_is_found_by_itself(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 3))
    receiver.answer = lambda got: Reply(500)
    subscription = run(webhook(audience, receiver), clock)
    clock.advance(timedelta(hours=13))
    assert run(subscription, clock).status == Status.PARKED
    receiver.answer = lambda got: Reply(200)
    clock.advance(timedelta(hours=7))
    assert sync.waiting(clock.now()) == [subscription.pk]
    assert run(subscription, clock).status == Status.IN_STEP


def services_command() -> Any:
    from access.services import COMMAND

    return COMMAND


@pytest.mark.parametrize("status", [401, 403, 410])
def test_a_refusal_of_everything_suspends(
    status: int, space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 50))
    receiver.answer = lambda got: Reply(status, b"who are you")
    subscription = run(webhook(audience, receiver), clock)
    assert (subscription.status, subscription.error) == (Status.SUSPENDED, f"{status} who are you")
    assert len(receiver.got) <= 16
    clock.advance(timedelta(days=3))
    made = len(receiver.got)
    assert run(subscription, clock).status == Status.SUSPENDED
    assert len(receiver.got) == made
    assert sync.waiting(clock.now()) == []
    receiver.answer = lambda got: Reply(200)
    services.change_destination(subscription.destination, settings={"sharedSecret": "right"}, by=services_command())
    assert run(subscription, clock).status == Status.IN_STEP
    assert len(inside(receiver)) == 50


def test_one_bad_row_is_isolated_and_kept_with_the_receivers_words(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 40))
    receiver.answer = poison("u23")
    subscription = run(webhook(audience, receiver, style="list", batchSize=100), clock)
    assert (subscription.status, subscription.synced_at) == (Status.REFUSED, None)
    bad = Acknowledged.objects.exclude(refused="").get(subscription=subscription)
    assert (bad.refused, bad.state, bad.due) == ("422 u23 is not a customer", State.OUT, False)
    assert queries.count_now(subscription)["acknowledged"] == 39
    found = queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=space, outcome="refused")
    assert [(each.who, each.reason) for each in found[:10]] == [
        ({"type": "user_id", "value": "u23"}, "422 u23 is not a customer")
    ]
    assert len(receiver.got) < 16  # found by halving
    change(audience, entered=[make_person(space, ("user_id", "more"))])
    sent = len(receiver.got)
    run(subscription, clock)
    assert len(receiver.got) == sent + 1  # and not tried again for that


def poison(*values: str) -> Callable[[Got], Reply]:
    def answer(got: Got) -> Reply:
        for value in values:
            if f'"userId":"{value}"'.encode() in got.body:
                return Reply(422, f"{value} is not a customer".encode())
        return Reply(200)

    return answer


def test_one_row_that_always_breaks_the_receiver_does_not_hold_up_the_others(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 30))
    receiver.answer = lambda got: Reply(500 if got.json["userId"] == "u0" else 200)
    subscription = run(webhook(audience, receiver), clock)
    assert inside(receiver) >= {f"u{n}" for n in range(1, 30)}
    assert (subscription.status, subscription.failures) == (Status.RETRYING, 0)
    for _ in range(5):
        clock.advance(timedelta(minutes=1))
        change(audience, entered=[make_person(space, ("user_id", f"n{clock.now()}"))])
        run(subscription, clock)
    assert len(inside(receiver)) == 30 + 5
    assert queries.count_now(subscription)["acknowledged"] == 34
    clock.advance(timedelta(hours=1))
    sent = len(receiver.got)
    run(subscription, clock)  # nothing but the bad row: that it fails again says nothing of the destination
    assert len(receiver.got) == sent + 1
    assert (subscription.status, subscription.failures, subscription.retry_at) == (Status.RETRYING, 0, None)


def test_a_slow_destination_gives_the_worker_back(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 10))
    subscription = webhook(audience, receiver)
    log = log_of(subscription)
    batches.advance(Sync(clock, sending_s=0.0), log)  # no time at all
    assert receiver.got == []
    assert {state for state, _ in state_of(subscription).values()} == {State.OUT}
    run(subscription, clock)
    assert len(inside(receiver)) == 10
    assert {flip for _, flip in state_of(subscription).values()} == {1}


@pytest.mark.parametrize("what", ["subscription", "destination", "audience"])
def test_what_is_switched_off_sends_nothing(
    what: str, space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = make_people(space, 2)
    change(audience, entered=people[:1])
    subscription = webhook(audience, receiver)
    stage, log = Sync(clock), log_of(subscription)
    decided = batches._prepare(stage, log)  # switched off between Prepare and Write
    assert decided is not None
    switch(subscription, what, on=False)
    assert batches.advance(stage, log)
    change(audience, entered=people[1:])
    run(subscription, clock)
    assert receiver.got == []
    assert sync.waiting(clock.now()) == []
    switch(subscription, what, on=True)
    run(subscription, clock)
    assert inside(receiver) == {"u0", "u1"}


def test_a_subscription_deleted_during_its_calls_is_gone_and_disturbs_nobody(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 3))
    subscription, other = webhook(audience, receiver), webhook(audience, receiver)
    receiver.answer = lambda got: unsubscribed(subscription)
    with pytest.raises(batches.Overtaken):
        batches.advance(Sync(clock), log_of(subscription))
    assert not Subscription.objects.filter(pk=subscription.pk).exists()
    assert not Log.objects.filter(partition=subscription.pk).exists()
    (deletion,) = erasure.due(clock.now())
    while erasure.advance(deletion, clock.now()):
        pass
    assert not Acknowledged.objects.exists()
    assert sync.waiting(clock.now()) == [other.pk]
    assert run(other, clock).status == Status.IN_STEP


def unsubscribed(subscription: Subscription) -> Reply:
    try:
        for found in Subscription.objects.filter(pk=subscription.pk):
            services.unsubscribe(found, by=services_command())
    finally:
        connection.close()  # this is the receiver's thread
    return Reply()


def test_an_audience_that_was_deleted_is_sent_no_more(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 3))
    subscription = webhook(audience, receiver)
    decided = batches._prepare(Sync(clock), log_of(subscription))
    assert decided is not None
    Audience.objects.filter(pk=audience.pk).update(deleted_at=clock.now())
    assert sync.waiting(clock.now()) == [subscription.pk]  # to end what was prepared
    run(subscription, clock)
    assert (receiver.got, sync.waiting(clock.now())) == ([], [])


def test_a_lost_key_is_waited_for_and_nobody_is_refused(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, settings: Any
) -> None:
    change(audience, entered=make_people(space, 3))
    subscription = webhook(audience, receiver)
    kept, settings.FIELD_KEYS = settings.FIELD_KEYS, [Fernet.generate_key().decode()]
    with pytest.raises(ConnectionError, match="No key"):
        run(subscription, clock)
    settings.FIELD_KEYS = kept
    Log.objects.update(retry_at=None)
    assert run(subscription, clock).status == Status.IN_STEP
    assert len(inside(receiver)) == 3


def test_what_may_have_been_sent_before_it_was_switched_off_is_not_forgotten(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = make_people(space, 1)
    change(audience, entered=people)
    subscription = webhook(audience, receiver)
    stage, log = Sync(clock), log_of(subscription)
    piece = batches._prepare(stage, log)
    stage.write(log, sync.msgspec.msgpack.decode(piece.prepared, type=sync.PreparedSync), piece.number)  # the end of it
    switch(subscription, "subscription", on=False)
    run(subscription, clock)
    change(audience, left=people)
    switch(subscription, "subscription", on=True)
    run(subscription, clock)
    assert [message["event"] for message in receiver.messages()] == ["Audience Entered", "Audience Exited"]


def switch(subscription: Subscription, what: str, *, on: bool) -> None:
    row = {"subscription": subscription, "destination": subscription.destination, "audience": subscription.audience}
    type(row[what])._default_manager.filter(pk=row[what].pk).update(enabled=on)


def test_a_resync_says_everyone_anew_under_new_ids(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = make_people(space, 3)
    change(audience, entered=people)
    subscription = run(webhook(audience, receiver), clock)
    change(audience, left=[people[0]])
    run(subscription, clock)
    before = set(receiver.ids())
    receiver.got.clear()
    clock.advance(timedelta(minutes=1))
    services.resync(subscription, by=services_command())
    run(subscription, clock)
    assert inside(receiver) == {"u1", "u2"}
    assert len(receiver.got) == 2
    assert not before & set(receiver.ids())


def test_a_resync_during_a_call_is_not_undone_by_its_answer(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 1))
    subscription = webhook(audience, receiver)

    def meddle(got: Got) -> Reply:
        Acknowledged.objects.filter(subscription=subscription).update(flip=2)  # what a resync does
        return Reply(200)

    stage, log = Sync(clock), log_of(subscription)
    receiver.answer = meddle
    batches.advance(stage, log)
    assert state_of(subscription) == {"u0": (State.MAYBE, 2)}


def numbers_of(space: Space, *values: str) -> list[int]:
    found = dict(Identifier.objects.filter(space=space, value__in=values).values_list("value", "number"))
    return [found[value] for value in values]


def test_one_that_was_refused_is_tried_again_alone_under_the_same_id(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=[make_person(space, ("user_id", f"u{n}")) for n in range(3)])
    receiver.answer = lambda got: Reply(422) if got.json["userId"] in ("u1", "u2") else Reply()
    subscription = run(webhook(audience, receiver), clock)
    u0, u1 = numbers_of(space, "u0", "u1")
    receiver.answer = lambda got: Reply()
    before = len(receiver.got)
    services.retry_one(subscription, u1, by=COMMAND)
    run(subscription, clock)
    (again,) = receiver.got[before:]
    assert again.json["userId"] == "u1"
    assert again.json["messageId"] in {got.json["messageId"] for got in receiver.got[:before]}
    assert state_of(subscription)["u1"][0] == IN
    for settled in (u0, u1, 999):  # acknowledged, meanwhile acknowledged, never there
        with pytest.raises(NotPossible, match="nothing to try again"):
            services.retry_one(subscription, settled, by=COMMAND)
    assert len(receiver.got) == before + 1


def test_one_that_waits_alone_is_tried_at_once_and_slows_nobody_down(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=[make_person(space, ("user_id", f"u{n}")) for n in range(3)])
    receiver.answer = lambda got: Reply(503) if got.json["userId"] == "u1" else Reply()
    subscription = run(webhook(audience, receiver), clock)
    (u1,) = numbers_of(space, "u1")
    for _ in range(4):
        services.retry_one(subscription, u1, by=COMMAND)
        run(subscription, clock)
    subscription.refresh_from_db()
    assert (subscription.failures, subscription.retry_at) == (0, None)
    assert Acknowledged.objects.get(subscription=subscription, identifier=u1).tries == 5
    assert len({got.json["messageId"] for got in receiver.got if got.json["userId"] == "u1"}) == 1


def test_what_is_no_longer_wanted_is_not_said_when_it_is_tried_again(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"))
    change(audience, entered=[person])
    receiver.answer = lambda got: Reply(422)
    subscription = run(webhook(audience, receiver), clock)
    change(audience, left=[person])
    before = len(receiver.got)
    services.retry_one(subscription, numbers_of(space, "u1")[0], by=COMMAND)
    run(subscription, clock)
    assert len(receiver.got) == before
    row = Acknowledged.objects.get(subscription=subscription)
    assert (row.due, row.refused, row.state) == (False, "", OUT)


def test_secrets_are_in_no_log_and_no_error(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 1))
    receiver.answer = lambda got: Reply(400, b"bad key: hunter2-secret")
    subscription = run(webhook(audience, receiver, sharedSecret="hunter2-secret"), clock)
    row = Acknowledged.objects.get(subscription=subscription)
    (line,) = queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=space)[:10]
    assert "hunter2" not in f"{row.refused} {line} {subscription.error}"
    assert row.refused.startswith("400 bad key")


@pytest.mark.parametrize("style", ["event", "list"])
def test_the_catcher_holds_the_audience(
    style: str, space: Space, audience: Audience, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sync, "batch_size", 50)  # of 60 people: a pass has several batches
    subscription = catcher(audience, style=style)
    people = [make_person(space, ("user_id", f"u{n}"), ("email", f"u{n}@x.org")) for n in range(60)]
    change(audience, entered=people)
    run(subscription, clock)
    change(audience, left=people[:10])
    run(subscription, clock)
    change(audience, entered=people[:5])
    run(subscription, clock)
    left = set(range(5, 10))
    expected = {
        (t, f"u{n}{end}") for n in range(60) if n not in left for t, end in (("user_id", ""), ("email", "@x.org"))
    }
    assert set(queries.members_at_catcher(subscription.destination, "shoppers")) == expected
    assert len(queries.members_at_catcher(subscription.destination, "other")) == 0
    assert set(Caught.objects.values_list("times", flat=True)) == {1}


@pytest.mark.parametrize("style", ["event", "list"])
def test_what_is_said_after_a_clock_was_put_back_counts_as_newer(
    style: str, space: Space, audience: Audience, clock: FixedClock
) -> None:
    subscription = catcher(audience, style=style)
    one, other = make_people(space, 2)
    changes: list[dict[str, Any]] = [
        *({"entered": [one, other]}, {"left": [one]}, {"entered": [one], "left": [other]}, {"entered": [other]}),
    ]
    for given, ahead in zip(changes, [0, 5, 0, 0], strict=True):
        clock.advance(timedelta(minutes=ahead))
        change(audience, **given)
        run(subscription, clock)
        clock.advance(-timedelta(minutes=ahead))
    assert len(queries.members_at_catcher(subscription.destination, "shoppers")) == 2


def test_the_catcher_is_not_confused_by_an_old_call_that_comes_late(
    space: Space, audience: Audience, clock: FixedClock
) -> None:
    people = make_people(space, 1)
    change(audience, entered=people)
    subscription = run(catcher(audience), clock)
    first = list(Caught.objects.order_by("id").values_list("message_id", "body"))
    change(audience, left=people)
    run(subscription, clock)
    # A stalled worker sends the enter only now.
    Caught.objects.filter(message_id__in=[id for id, _ in first]).delete()
    for id, body in first:
        Caught.objects.create(
            workspace=space.workspace,
            destination=subscription.destination,
            message_id=id,
            received_at=clock.now(),
            headers={},
            body=body,
        )
    assert len(queries.members_at_catcher(subscription.destination, "shoppers")) == 0


def test_deliveries_are_of_the_published_pieces(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 3))
    subscription = webhook(audience, receiver)
    stage, log = Sync(clock), log_of(subscription)
    piece = batches._prepare(stage, log)
    decision = sync.msgspec.msgpack.decode(piece.prepared, type=sync.PreparedSync)
    stage.write(log, decision, piece.number)  # and the process ends here
    assert len(queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=space)) == 0
    run(subscription, clock)
    found = queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=space)
    assert len(found) == 3
    assert {each.outcome for each in found[:10]} == {"delivered"}
    assert len(receiver.ids()) == 6
    assert len(set(receiver.ids())) == 3


def test_everyone_gone_from_a_bitmap_of_millions_is_cheap_to_page(space: Space, audience: Audience) -> None:
    numbers = BitMap(range(0, 4_000_000, 2))
    assert next_numbers(numbers, 999_999, 3) == BitMap([1_000_000, 1_000_002, 1_000_004])
    assert next_numbers(numbers, 0, 2) == BitMap([2, 4])


def missed(space: Space, audience: Audience) -> tuple[int, int]:
    """Two members, of whom no change says what became of them: one has a new address, the other lost one."""
    gains, loses = make_person(space, ("user_id", "u1")), make_person(space, ("user_id", "u2"), ("email", "2@x.org"))
    change(audience, entered=[gains, loses])
    return gains, loses


def test_what_no_change_names_is_found_by_comparing_and_is_said(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    """Nothing but what differs; and until then it only says what it knew at the time of its last comparison."""
    gains, _ = missed(space, audience)
    subscription = run(webhook(audience, receiver), clock)
    assert (subscription.status, subscription.compared_at) == (Status.IN_STEP, clock.now())
    give(space, gains, "email", "1@x.org")
    Identifier.objects.filter(space=space, value="2@x.org").update(profile=make_person(space))
    receiver.got.clear()
    assert sync.waiting(clock.now()) == []
    clock.advance(timedelta(hours=1))
    assert sync.waiting(clock.now()) == [subscription.pk]
    run(subscription, clock)
    assert sorted((str(who(m)), m["event"]) for m in receiver.messages()) == [
        ("('u1', None, '1@x.org')", "Audience Entered"),
        ("(None, None, '2@x.org')", "Audience Exited"),
    ]
    assert (subscription.status, subscription.counts["desired"]) == (Status.IN_STEP, 3)
    assert sync.waiting(clock.now()) == []


def test_much_that_no_change_names_is_a_pass_over_everyone(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = make_people(space, 12)
    change(audience, entered=people)
    subscription = run(webhook(audience, receiver), clock)
    for number in people:
        give(space, number, "email", f"{number}@x.org")
    monkeypatch.setattr(Sync, "batch_size", 5)
    clock.advance(timedelta(hours=1))
    stage, log = Sync(clock), log_of(subscription)
    assert batches.advance(stage, log)
    subscription.refresh_from_db()
    assert (subscription.full, subscription.status) == (True, Status.SYNCING)
    run(subscription, clock)
    assert len(receiver.ids()) == len(set(receiver.ids())) == 24
    assert subscription.status == Status.IN_STEP


@pytest.mark.parametrize("what", ["subscription", "destination"])
def test_what_was_switched_on_again_is_compared_before_it_is_in_step(
    what: str, space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"))
    change(audience, entered=[person])
    subscription = run(webhook(audience, receiver), clock)
    for enabled in (False, True):
        if what == "subscription":
            services.change_subscription(subscription, enabled=enabled, by=COMMAND)
        else:
            services.change_destination(subscription.destination, enabled=enabled, by=COMMAND)
        if not enabled:
            give(space, person, "email", "1@x.org")
    run(subscription, clock)
    assert who(receiver.messages()[-1]) == ("u1", None, "1@x.org")
    assert subscription.status == Status.IN_STEP


def test_who_is_refused_is_not_in_step_until_they_are_taken_or_leave(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = make_people(space, 3)
    change(audience, entered=people)
    receiver.answer = lambda got: Reply(422, b"unknown")
    subscription = run(webhook(audience, receiver), clock)
    assert (subscription.status, subscription.synced_at, subscription.counts["refused"]) == (Status.REFUSED, None, 3)
    receiver.answer = lambda got: Reply(200)
    made = len(receiver.got)
    clock.advance(timedelta(hours=2))
    assert run(subscription, clock).status == Status.REFUSED
    assert len(receiver.got) == made  # a comparison does not say again what was refused
    services.retry_one(subscription, Identifier.objects.get(space=space, value="u0").number, by=COMMAND)
    assert run(subscription, clock).counts["refused"] == 2
    change(audience, left=people[1:])
    assert run(subscription, clock).status == Status.IN_STEP
    assert len(receiver.got) == made + 1


def test_a_refusal_is_seen_at_once_in_what_was_in_step(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 3))
    subscription = run(webhook(audience, receiver), clock)
    receiver.answer = lambda got: Reply(422, b"unknown")
    change(audience, entered=[make_person(space, ("user_id", "new"))])
    assert run(subscription, clock).status == Status.REFUSED


@pytest.mark.parametrize("batch", [500, 1])
def test_what_stays_different_whatever_is_said_is_shown_and_reported_and_compared_ever_less_often(
    batch: int,
    space: Space,
    audience: Audience,
    receiver: Receiver,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A planted fault: nobody is ever said. With as many as fit into a batch, and with more."""
    change(audience, entered=make_people(space, 2))
    monkeypatch.setattr(Sync, "batch_size", batch)
    monkeypatch.setattr(calls, "next_call", lambda *args, **kwargs: None)
    subscription = webhook(audience, receiver)
    compared = set()
    for _ in range(200):
        run(subscription, clock)
        compared.add(subscription.compared_at)
        clock.advance(timedelta(seconds=10))
    assert subscription.status == Status.DIFFERS
    assert 5 < len(compared) < 40
    assert "2 identifiers differ" in caplog.text
    assert any(record.levelname == "ERROR" for record in caplog.records)
    monkeypatch.undo()
    for _ in range(2):  # it is said, and it is compared
        clock.advance(timedelta(minutes=5))
        run(subscription, clock)
    assert subscription.status == Status.IN_STEP


@pytest.mark.parametrize("batch", [500, 1])
def test_people_who_were_merged_since_the_newest_tick_are_waited_for(
    batch: int,
    space: Space,
    audience: Audience,
    receiver: Receiver,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Sync, "batch_size", batch)
    winner, loser = make_person(space, ("user_id", "u1")), make_person(space, ("user_id", "u2"))
    change(audience, entered=[loser])
    subscription = run(webhook(audience, receiver), clock)
    merge(space, loser, winner)
    for _ in range(100):
        clock.advance(timedelta(minutes=1))
        run(subscription, clock)
    assert (len(receiver.got), subscription.status) == (1, Status.WAITING)
    assert not any(record.levelname == "ERROR" for record in caplog.records)
    change(audience, left=[loser], entered=[winner])
    assert run(subscription, clock).status == Status.IN_STEP
    assert who(receiver.messages()[-1])[0] == "u1"


def test_what_is_in_step_and_goes_on_changing_is_compared_now_and_then(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(audience, entered=make_people(space, 2))
    subscription = run(webhook(audience, receiver), clock)
    made = []
    real = queries.compare_in_full
    monkeypatch.setattr(queries, "compare_in_full", lambda *args: made.append(clock.now()) or real(*args))
    for n in range(30):
        clock.advance(timedelta(seconds=1))
        change(audience, entered=[make_person(space, ("user_id", f"n{n}"))])
        assert run(subscription, clock).status == Status.IN_STEP
    assert 4 <= len(made) <= 7
    clock.advance(timedelta(seconds=5))
    run(subscription, clock)
    assert subscription.counts == queries.count_now(subscription)


def test_it_is_failing_after_some_rounds_without_one_success(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 2))
    receiver.answer = lambda got: Reply(500)
    subscription = webhook(audience, receiver)
    seen = []
    for _ in range(4):
        seen.append(run(subscription, clock).status)
        clock.advance(timedelta(minutes=1))
    assert seen == [Status.RETRYING, Status.RETRYING, Status.FAILING, Status.FAILING]
    services.resume(subscription, by=COMMAND)
    assert subscription.status == Status.RETRYING
    receiver.answer = lambda got: Reply(200)
    assert run(subscription, clock).status == Status.IN_STEP


def test_the_loser_and_the_winner_of_a_merge_being_members_nothing_is_waited_for(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    winner, loser = make_person(space, ("user_id", "u1")), make_person(space, ("user_id", "u2"))
    change(audience, entered=[winner, loser])
    subscription = run(webhook(audience, receiver), clock)
    merge(space, loser, winner)
    give(space, winner, "email", "e@x.org")
    clock.advance(timedelta(hours=1))
    assert run(subscription, clock).status == Status.IN_STEP
    assert who(receiver.messages()[-1])[2] == "e@x.org"


def test_who_cannot_be_decided_is_kept_as_refused_and_is_not_compared_for_ever(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    number = make_person(space, ("user_id", "u1"))
    change(audience, entered=[number])
    subscription = webhook(audience, receiver)
    stage, log = Sync(clock), log_of(subscription)
    intake = stage.read(log, 1)
    assert intake is not None
    stage.skip(log, intake, ValueError("nobody understands this"))
    run(subscription, clock)
    assert (subscription.status, receiver.got) == (Status.REFUSED, [])
    assert Acknowledged.objects.get(subscription=subscription).refused == "nobody understands this"
    services.retry_one(subscription, Identifier.objects.get(space=space, value="u1").number, by=COMMAND)
    assert run(subscription, clock).status == Status.IN_STEP
    assert inside(receiver) == {"u1"}
