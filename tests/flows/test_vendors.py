"""Every tool ends with exactly the audience, however it throttles, refuses people and loses answers on the way.

The tools are fakes on loopback, written from their documentation (`tests/vendors.py`); everything up to the door out is
real. What they remember is compared, not what was sent.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from access.services import COMMAND
from audiences import services as audiences
from destinations import holdings, services
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Acknowledged, Destination, Subscription
from spaces.clock import FixedClock
from spaces.models import Space
from spaces.outbound import Caller
from tests import stores
from tests.factories import SpaceFactory
from tests.factories_audiences import World
from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.factories_identity import message
from tests.flows.test_gaps import synced
from tests.flows.test_traits_sent import SPENT
from tests.receiver import Receiver, receiving
from tests.vendors import LISTS, VENDORS, Channel, Vendor, redirected

pytestmark = pytest.mark.django_db(transaction=True)
BAD = frozenset({"u3", "p3@x.org"})
VALUED = [kind for kind in VENDORS if all_adapters()[kind].trait_options]
SENT_EVENTS = {"customerio", "iterable", "braze", "mixpanel", "amplitude", "posthog", "segment_http", "ga4"}


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Every tool is on loopback, and nobody is kept to a rate."""
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        monkeypatch.setattr(Caller, "send", redirected(Caller.send, server))
        monkeypatch.setattr("destinations.send.pace", lambda name, **more: True)
        yield server


def connected(kind: str, receiver: Receiver, space: Space) -> tuple[Vendor, Destination]:
    tool, settings, _, _ = VENDORS[kind]
    vendor = tool(bad=BAD if tool.refuses else frozenset())
    receiver.answer = vendor
    return vendor, make_destination(space, kind, **settings)


def settled(subscription: Subscription, clock: FixedClock) -> Subscription:
    """Until nothing waits any more: what was throttled or lost goes again."""
    for _ in range(40):
        synced(subscription, clock)
        if (
            not Acknowledged.objects.filter(subscription=subscription, due=True).exists()
            and subscription.pass_tick is None
        ):
            return subscription
        clock.advance(timedelta(hours=1))
    raise AssertionError(f"{subscription.status}: {subscription.error}")


def test_every_tool_has_a_fake() -> None:
    assert {*VENDORS, *LISTS} == set(all_adapters()) - {"catcher", "webhook"} - stores.KINDS


@pytest.mark.parametrize("kind", VENDORS)
def test_a_tool_ends_with_the_audience(kind: str, receiver: Receiver, clock: FixedClock) -> None:
    space = SpaceFactory()
    vendor, destination = connected(kind, receiver, space)
    subscription, people, inside = changed_thrice(destination, VENDORS[kind][2], clock)
    assert vendor.wrong == []
    if isinstance(vendor, Channel):
        assert vendor.inside == len(inside) + 1
        return
    refused = Acknowledged.objects.filter(subscription=subscription).exclude(refused="")
    assert {row.profile for row in refused} == ({people[3]} if vendor.refuses else set())
    expected = named(kind, inside - ({3} if vendor.refuses else set()))
    assert vendor.members == expected
    if kind in SENT_EVENTS:
        entered = {person for person, name in vendor.newest.items() if name.lower().endswith("entered")}
        assert entered == expected
    if adapter_of(kind).members and kind not in LISTS:  # whoever knows lists is asked about a list
        receiver.answer = vendor.do  # without faults: these calls are not made again by themselves
        what_differs_is_mended(subscription, vendor, clock)


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_ends_with_the_audience(kind: str, receiver: Receiver, clock: FixedClock) -> None:
    """One list, by its name, which was not there before."""
    space = SpaceFactory()
    tool, settings, options = LISTS[kind]
    receiver.answer = vendor = tool(bad=BAD if tool.refuses else frozenset())
    destination = make_destination(space, kind, **settings)
    subscription, people, inside = changed_thrice(destination, options, clock)
    assert vendor.wrong == []
    assert len(vendor.ids_by_name) == 1
    assert {"a list of theirs", *options.values()} > {*vendor.ids_by_name}
    refused = Acknowledged.objects.filter(subscription=subscription).exclude(refused="")
    assert {row.profile for row in refused} == ({people[3]} if vendor.refuses else set())
    assert vendor.members == named(kind, inside - ({3} if vendor.refuses else set()))
    if adapter_of(kind).members:
        receiver.answer = vendor.do  # without faults: these calls are not made again by themselves
        what_differs_is_mended(subscription, vendor, clock)


def what_differs_is_mended(subscription: Subscription, vendor: Vendor, clock: FixedClock) -> None:
    """Somebody changes it over there by hand: one of theirs comes, one of ours goes, one who had left is back."""
    names, (left,) = {*vendor.members}, named(subscription.destination.kind, {2}) - {"only@x.org"}
    lost = sorted(names)[0]
    for person, inside in ((lost, False), (left, True), ("theirs@x.org", True)):
        vendor.changed_by_hand(person, inside=inside)
    result = holdings.holdings(subscription)
    assert result is not None
    refused = [value for _, value in result.missing if value in BAD]
    assert [value for _, value in result.missing] == sorted([lost, *refused])
    assert {value for _, value in result.extra} == {left, "theirs@x.org"}
    assert result.strangers == 1
    holdings.mend(subscription, by=COMMAND)
    settled(subscription, clock)
    assert vendor.members == names | {"theirs@x.org"}


def changed_thrice(
    destination: Destination, options: dict[str, Any], clock: FixedClock
) -> tuple[Subscription, dict[int, int], set[int]]:
    """An audience whose people come, go and come back; the numbers of its profiles, and who of them is in it."""
    space = destination.space
    audience = AudienceFactory(space=space, key="shoppers")
    people = {n: make_person(space, ("user_id", f"u{n}"), ("email", f"p{n}@x.org")) for n in range(12)}
    only_email = make_person(space, ("email", "only@x.org"))
    change(audience, entered=[*[people[n] for n in range(8)], only_email])
    subscription = make_subscription(audience, destination, **options)
    settled(subscription, clock)
    change(audience, left=[people[n] for n in (0, 1, 2)], entered=[people[8], people[9]])
    settled(subscription, clock)
    change(audience, left=[people[5], people[8]], entered=[people[1], people[10]])
    settled(subscription, clock)

    return subscription, people, {1, 3, 4, 6, 7, 9, 10}


def named(kind: str, numbers: set[int]) -> set[str]:
    """As the tool knows them: by the first type of identifier that it takes; whoever has no user ID, by the address."""
    known = adapter_of(kind).capabilities.identifiers
    users = {f"u{n}" if known[0] == "user_id" else f"p{n}@x.org" for n in numbers}
    return users | ({"only@x.org"} if "email" in known else set())


@pytest.mark.parametrize("kind", VALUED)
def test_a_tool_ends_with_the_values_of_a_computed_trait(kind: str, receiver: Receiver) -> None:
    world = World()
    vendor, destination = connected(kind, receiver, world.space)
    totals = dict(enumerate((10, 2.5, 7, 4)))
    world.sent(
        *(message("identify", userId=f"u{n}", traits={"email": f"p{n}@x.org"}) for n in totals),
        *(message(userId=f"u{n}", event="Ordered", properties={"total": total}) for n, total in totals.items()),
    )
    trait = audiences.create_trait(world.space, name="Spent", definition=SPENT, by=COMMAND)
    world.computed()
    subscription = services.subscribe(trait, destination, options=VENDORS[kind][3], by=COMMAND)
    settled(subscription, world.clock)
    known = {n: person for n in range(4) for person in named(kind, {n}) - {"only@x.org"}}
    refused = {3} if vendor.refuses else set()
    assert vendor.numbers == {known[n]: total for n, total in totals.items() if n not in refused}
    world.did("u1", "Ordered", properties={"total": 3})
    world.ticked()
    settled(subscription, world.clock)
    assert vendor.numbers[known[1]] == 5.5
    world.later(timedelta(days=8))
    settled(subscription, world.clock)
    assert vendor.numbers == {}
    assert vendor.wrong == []
