"""Of whom what is sent: identifiers of any kind, fields, filters, consent, caps, nods and recalls, to a real server."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pyroaring import BitMap

from access.services import COMMAND, NotPossible
from audiences.models import Audience
from destinations import queries, services, sync
from destinations.models import Acknowledged, Subscription
from destinations.reconciliation import differing, looked_up
from destinations.sync import Sync
from identity.models import Identifier, Profile
from spaces import batches
from spaces.clock import FixedClock
from spaces.models import Space
from spaces.settings_schema import InvalidSetting
from tests import factories_destinations as made
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, give, make_people, make_person, merge
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
Status = Subscription.Status


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


def webhook(audience: Audience, receiver: Receiver, sending: dict[str, Any], **options: Any) -> Subscription:
    destination = made.make_destination(audience.space, "webhook", url=receiver.url)
    subscription = made.make_subscription(audience, destination, **({"sendIdentify": False} | options))
    services.change_subscription(subscription, sending=sending, by=COMMAND)
    return subscription


def run(subscription: Subscription, clock: FixedClock) -> Subscription:
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    for _ in range(100):
        if not batches.advance(Sync(clock), log):
            subscription.refresh_from_db()
            return subscription
    raise AssertionError("the stage does not come to rest")


def outgoing(receiver: Receiver) -> list[tuple[Any, ...]]:
    """Who, by every identifier of the call, and whether they enter."""
    shown = []
    for message in receiver.messages():
        context = message["context"]
        externals = tuple((each["type"], each["id"]) for each in context.get("externalIds", ()))
        reached = context.get("traits", {})
        who = (message.get("userId"), reached.get("email"), reached.get("phone"), externals)
        shown.append((*who, message["event"] == "Audience Entered"))
    return shown


def test_identifiers_of_any_type_go_each_once_and_leave_as_they_came(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"), ("phone", "+491"), ("crm", "c1"), ("email", "a@x.org"))
    change(audience, entered=[person])
    rules = {"identifiers": [{"type": "user_id"}, {"type": "phone"}, {"type": "crm"}]}
    subscription = run(webhook(audience, receiver, rules), clock)
    entered = [
        ("u1", None, None, (), True),
        ("u1", None, "+491", (), True),
        ("u1", None, None, (("crm", "c1"),), True),
    ]
    assert sorted(map(str, outgoing(receiver))) == sorted(map(str, entered))  # no e-mail address: it was not chosen
    assert subscription.status == Status.IN_STEP
    receiver.got.clear()
    other = make_person(space, ("crm", "c2"))
    merge(space, other, person)
    change(audience, refreshed=[person])
    run(subscription, clock)
    assert outgoing(receiver) == [("u1", None, None, (("crm", "c2"),), True)]
    receiver.got.clear()
    change(audience, left=[person])
    run(subscription, clock)
    left = {(who, externals) for who, _, _, externals, entering in outgoing(receiver) if not entering}
    assert left == {("u1", ()), ("u1", (("crm", "c1"),)), ("u1", (("crm", "c2"),))}
    assert queries.count_now(subscription)["acknowledged"] == 0


def test_the_ids_of_telephones_go_by_a_switch(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"), ("ios.idfa", "IDFA"), ("android.id", "AND"))
    change(audience, entered=[person])
    subscription = run(webhook(audience, receiver, {}), clock)
    assert len(receiver.messages()) == 1
    services.change_subscription(subscription, sending={"mobile": True}, by=COMMAND)
    run(subscription, clock)
    devices = [message["context"].get("device") for message in receiver.messages()[1:]]
    assert sorted(map(str, devices)) == sorted(
        map(str, [{"type": "ios", "advertisingId": "IDFA"}, {"type": "android", "id": "AND"}])
    )


@pytest.mark.parametrize(
    ("which", "first", "then"), [("first", "old@x.org", None), ("last", "new@x.org", "third@x.org")]
)
def test_one_of_several_goes_and_an_exit_keeps_to_it(
    which: str, first: str, then: str | None, space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("email", "old@x.org"), ("email", "new@x.org"))
    change(audience, entered=[person])
    rules = {"identifiers": [{"type": "email", "which": which}]}
    subscription = run(webhook(audience, receiver, rules), clock)
    assert outgoing(receiver) == [(None, first, None, (), True)]
    assert subscription.status == Status.IN_STEP
    receiver.got.clear()
    give(space, person, "email", "third@x.org")
    change(audience, refreshed=[person])
    run(subscription, clock)
    moved = {(None, first, None, (), False), (None, then, None, (), True)} if then else set()
    assert set(outgoing(receiver)) == moved
    receiver.got.clear()
    change(audience, left=[person])
    run(subscription, clock)
    assert outgoing(receiver) == [(None, then or first, None, (), False)]


def test_a_hashed_identifier_leaves_this_installation_only_hashed(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=[make_person(space, ("email", "a@x.org"), ("user_id", "u1"))])
    rules = {"identifiers": [{"type": "email", "hash": "sha256", "name": "hashed"}]}
    subscription = run(webhook(audience, receiver, rules), clock)
    (message,) = receiver.messages()
    assert message["context"]["traits"]["email"] == message["properties"]["hashed"]
    assert len(message["properties"]["hashed"]) == 64
    assert b"a@x.org" not in receiver.got[0].body
    # Who is taken out is who was sent, whatever the rules have become.
    services.change_subscription(subscription, sending={"identifiers": [{"type": "user_id"}]}, by=COMMAND)
    receiver.got.clear()
    run(subscription, clock)
    assert {(entering, who) for who, _, _, _, entering in outgoing(receiver)} == {(True, "u1"), (False, None)}
    assert b"a@x.org" not in b"".join(got.body for got in receiver.got)


def test_fields_go_besides_and_a_repetition_says_the_same(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    person = make_person(space, ("user_id", "u1"), plan="pro")
    change(audience, entered=[person])
    rules = {
        "fields": [
            {"to": "tier", "value": {"kind": "case", "to": "upper", "of": {"kind": "trait", "key": "plan"}}},
            {"to": "segment", "value": {"kind": "property", "name": "key"}},
            {"to": "nothing", "value": {"kind": "trait", "key": "nothing"}},
        ]
    }
    receiver.answer = lambda got: Reply(500)
    subscription = run(webhook(audience, receiver, rules, sendIdentify=True), clock)
    Profile.objects.filter(space=space, number=person).update(traits={"plan": "free"})
    receiver.answer = lambda got: Reply()
    clock.advance(timedelta(seconds=5))
    run(subscription, clock)
    assert receiver.got[0].body == receiver.got[2].body  # it may have arrived
    identify, track = receiver.messages()[-2:]
    assert identify["traits"] == {"tier": "PRO", "segment": "shoppers", "shoppers": True}
    assert track["properties"] == {
        "tier": "PRO", "segment": "shoppers", "audience_key": "shoppers", "shoppers": True,
    }  # fmt: skip
    receiver.got.clear()
    change(audience, left=[person])
    run(subscription, clock)
    assert receiver.messages()[-1]["properties"]["tier"] == "FREE"  # as they are when it is said


def test_nobody_goes_without_consent_and_whoever_withdraws_it_leaves(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    willing = make_person(space, ("user_id", "yes"), consent={"marketing": True})
    make_person(space, ("user_id", "outside"), consent={"marketing": True})
    change(audience, entered=[willing, make_person(space, ("user_id", "no")), make_person(space, ("user_id", "never"))])
    subscription = run(webhook(audience, receiver, {"consent": "consent.marketing"}), clock)
    assert outgoing(receiver) == [("yes", None, None, (), True)]
    assert (subscription.status, queries.count_now(subscription)["desired"]) == (Status.IN_STEP, 1)
    assert differing(subscription) == []
    assert not looked_up(subscription, "no")[0].desired
    filtered = queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=space, outcome="filtered")
    assert {row.reason for row in filtered[0:10]} == {"No consent: consent.marketing"}
    assert len(filtered) == 2
    audience.refresh_from_db()
    assert audience.watched_traits == ["consent", "consent.marketing"]
    receiver.got.clear()
    Profile.objects.filter(space=space, number=willing).update(traits={"consent": {"marketing": False}})
    change(audience, refreshed=[willing])  # what evaluate says of a watched trait
    run(subscription, clock)
    assert outgoing(receiver) == [("yes", None, None, (), False)]
    services.unsubscribe(subscription, by=COMMAND)
    audience.refresh_from_db()
    assert audience.watched_traits == []


def test_a_change_of_filters_is_carried_out_by_itself(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = [make_person(space, ("user_id", f"u{n}"), orders=n) for n in range(4)]
    change(audience, entered=people)
    rules = {"only": [{"trait": "orders", "operator": "at_least", "value": 2}]}
    subscription = run(webhook(audience, receiver, rules), clock)
    assert {who for who, *_ in outgoing(receiver)} == {"u2", "u3"}
    receiver.got.clear()
    rules = {"only": [{"trait": "orders", "operator": "at_most", "value": 2}]}
    services.change_subscription(subscription, sending=rules, by=COMMAND)
    assert sync.waiting(clock.now()) == [subscription.pk]
    run(subscription, clock)
    assert {(who, entering) for who, *_, entering in outgoing(receiver)} == {("u3", False), ("u0", True), ("u1", True)}
    with pytest.raises(InvalidSetting, match="at most"):
        services.change_subscription(
            subscription, sending={"only": [{"trait": "x" * 201, "operator": "exists"}]}, by=COMMAND
        )


def test_more_people_than_the_cap_wait_for_a_nod(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    people = make_people(space, 10)
    change(audience, entered=people)
    subscription = run(webhook(audience, receiver, {"capPercent": 50}), clock)
    assert receiver.got == []
    assert (subscription.status, subscription.capped_people) == (Status.CAPPED, 10)
    assert sync.waiting(clock.now()) == []
    services.nod(subscription, by=COMMAND)
    with pytest.raises(NotPossible):
        services.nod(subscription, by=COMMAND)
    assert sync.waiting(clock.now()) == [subscription.pk]
    run(subscription, clock)
    assert (subscription.status, len(receiver.messages())) == (Status.IN_STEP, 10)
    receiver.got.clear()
    change(audience, left=BitMap(list(people)[:5]))  # half of them may go
    run(subscription, clock)
    assert (subscription.status, len(receiver.messages())) == (Status.IN_STEP, 5)
    change(audience, entered=BitMap(list(people)[:5]), left=BitMap([list(people)[9]]))
    run(subscription, clock)
    assert (subscription.status, subscription.capped_people) == (Status.CAPPED, 6)
    # Nothing of it comes out by another door, and what is no longer so many people waits no longer.
    clock.advance(timedelta(hours=2))
    run(subscription, clock)
    assert len(receiver.messages()) == 5
    change(audience, left=BitMap(list(people)[:5]))
    services.change_subscription(subscription, sending={"capPercent": 60}, by=COMMAND)
    run(subscription, clock)
    assert (subscription.status, len(receiver.messages())) == (Status.IN_STEP, 6)


def test_a_recall_takes_everybody_out_and_they_can_be_sent_again(
    space: Space, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(space, 3))
    subscription = run(webhook(audience, receiver, {"capPercent": 1}), clock)
    services.nod(subscription, by=COMMAND)
    run(subscription, clock)
    receiver.got.clear()
    clock.advance(timedelta(minutes=1))
    services.recall(subscription, now=clock.now(), by=COMMAND)
    with pytest.raises(NotPossible):
        services.recall(subscription, now=clock.now(), by=COMMAND)
    run(subscription, clock)
    assert [entering for *_, entering in outgoing(receiver)] == [False] * 3
    assert not Acknowledged.objects.filter(subscription=subscription).exclude(state=Acknowledged.State.OUT).exists()
    change(audience, entered=[make_person(space, ("user_id", "later"))])
    run(subscription, clock)
    assert len(receiver.messages()) == 3
    services.send_again(subscription, by=COMMAND)
    run(subscription, clock)
    assert [entering for *_, entering in outgoing(receiver)[3:]] == [True] * 4
    assert Identifier.objects.filter(space=space).count() == 4
