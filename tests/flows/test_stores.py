"""A table, a bucket, a folder and a topic end with exactly the audience, whatever is lost on the way.

The stores are real (`tests/stores.py`), and so is the door out.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from access.services import COMMAND
from audiences import services as audiences
from destinations import holdings, services
from destinations.adapters import adapter_of
from destinations.models import Acknowledged, Subscription
from destinations.rules.contract import DestinationRequest
from destinations.rules.send_batch import Unanswered
from destinations.transports import TRANSPORTS
from identity.models import Identifier
from spaces.answers import Answer
from spaces.clock import FixedClock
from tests import stores
from tests.factories import SpaceFactory
from tests.factories_audiences import World
from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.flows.test_gaps import synced
from tests.flows.test_traits_sent import SPENT
from tests.flows.test_vendors import settled
from tests.stores import Store, queried
from tests.warehouses import execute

pytestmark = pytest.mark.django_db(transaction=True)
EVERYBODY = {"contents": "everybody"}
# id -> (kind, the store)
STORES: dict[str, tuple[str, Callable[[Path], AbstractContextManager[Store]]]] = {
    "postgresql": ("postgresql", lambda folder: stores.postgresql()),
    "postgresql people": ("postgresql", lambda folder: stores.postgresql("people")),
    "clickhouse": ("clickhouse", lambda folder: stores.clickhouse()),
    "s3 changes": ("s3", lambda folder: stores.s3()),
    "s3 everybody": ("s3", lambda folder: stores.s3(format="parquet", **EVERYBODY)),
    "sftp changes": ("sftp", lambda folder: stores.sftp(folder, format="jsonl")),
    "sftp everybody": ("sftp", lambda folder: stores.sftp(folder, **EVERYBODY)),
    "kafka": ("kafka", lambda folder: stores.kafka()),
}


def losing(transport: Any) -> Any:
    """The same transport, on which calls do not arrive, and answers are lost, now and then."""
    calls = 0

    @contextmanager
    def opened(destination: Any, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
        with transport(destination, settings) as call:

            def lossy(request: DestinationRequest) -> Answer:
                nonlocal calls
                calls += 1
                if calls % 4 == 2:
                    raise Unanswered("lost on the way")
                answer = call(request)
                if calls % 3 == 0:
                    raise Unanswered("the answer is lost", arrived=True)
                return answer

            yield lossy

    return opened


@pytest.mark.parametrize("name", STORES)
def test_a_store_ends_with_the_audience(
    name: str, settings: Any, monkeypatch: pytest.MonkeyPatch, clock: FixedClock, tmp_path: Path
) -> None:
    kind, make_store = STORES[name]
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    with make_store(tmp_path) as store:
        settings.OUTBOUND_ALLOW = store.places
        destination = make_destination(space, kind, **store.settings)
        tested = services.test_destination(destination, now=clock.now())
        assert tested.ok, tested.message
        transport = adapter_of(kind).transport
        whole = TRANSPORTS[transport]
        monkeypatch.setitem(TRANSPORTS, transport, losing(whole))
        people = {n: make_person(space, ("user_id", f"u{n}"), ("email", f"p{n}@x.org")) for n in range(8)}
        only_email = make_person(space, ("email", "only@x.org"))
        change(audience, entered=[*[people[n] for n in range(6)], only_email])
        subscription = make_subscription(audience, destination, **store.options)
        settled(subscription, clock)
        change(audience, left=[people[0], people[1]], entered=[people[6]])
        settled(subscription, clock)
        change(audience, left=[people[5], only_email], entered=[people[1], people[7]])
        settled(subscription, clock)
        inside = {1, 2, 3, 4, 6, 7} - ({3} if store.refuses else set())
        assert store.members() == {f"u{n}" for n in inside}
        refused = Acknowledged.objects.filter(subscription=subscription).exclude(refused="")
        assert {row.profile for row in refused} == ({people[3]} if store.refuses else set())
        monkeypatch.setitem(TRANSPORTS, transport, whole)
        if adapter_of(kind).members and not name.endswith("changes"):
            result = holdings.holdings(subscription)
            assert result is not None
            assert [value for _, value in result.missing] == ["u3"] * store.refuses
            assert (result.existing, result.extra_count) == (len(inside), 0)


@pytest.mark.parametrize("layout", ["memberships", "people"])
def test_a_table_that_was_changed_by_hand_is_mended(layout: str, settings: Any, clock: FixedClock) -> None:
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    members = [make_person(space, ("user_id", f"u{n}"), ("email", f"p{n}@x.org")) for n in (0, 1, 2, 4)]
    change(audience, entered=members)
    with stores.postgresql(layout) as store:
        settings.OUTBOUND_ALLOW = store.places
        subscription = make_subscription(
            audience, make_destination(space, "postgresql", **store.settings), **store.options
        )
        settled(subscription, clock)
        change(audience, left=members[:1])
        settled(subscription, clock)
        table, inside = ("people", "shoppers") if layout == "people" else ("personas_members", "audience = 'shoppers'")
        execute(store.settings, f"DELETE FROM {table} WHERE {inside} AND id = 'u1'")
        if layout == "people":
            execute(store.settings, "INSERT INTO people (id, shoppers) VALUES ('their own', true)")
            execute(store.settings, "UPDATE people SET shoppers = true WHERE id = 'u0'")
        else:
            for id in ("u0", "their own"):
                row = f"'shoppers', '{id}', NULL, NULL, '', '2026-01-01'"
                execute(store.settings, f"INSERT INTO personas_members VALUES ({row})")
        result = holdings.holdings(subscription)
        assert result is not None
        assert (result.missing, result.extra) == ([("id", "u1")], [("id", "their own"), ("id", "u0")])
        assert result.strangers == 1
        holdings.mend(subscription, by=COMMAND)
        settled(subscription, clock)
        assert store.members() == {"u1", "u2", "u4", "their own"}


def test_who_left_and_came_back_while_nobody_heard_is_still_in_the_file(
    settings: Any, monkeypatch: pytest.MonkeyPatch, clock: FixedClock
) -> None:
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    people = [make_person(space, ("user_id", f"u{n}")) for n in range(3)]
    with stores.s3(**EVERYBODY) as store:
        settings.OUTBOUND_ALLOW = store.places
        destination = make_destination(space, "s3", **store.settings)
        assert services.test_destination(destination, now=clock.now()).ok
        subscription = make_subscription(audience, destination, **store.options)
        change(audience, entered=people[:2])
        settled(subscription, clock)

        def away(request: DestinationRequest) -> Answer:
            raise Unanswered("nobody hears")

        with monkeypatch.context() as patch:
            patch.setitem(TRANSPORTS, "s3", lambda *_: nullcontext(away))
            change(audience, left=people[:1])
            synced(subscription, clock)
        change(audience, entered=people[:1])
        clock.advance(timedelta(hours=1))
        settled(subscription, clock)
        change(audience, entered=people[2:])
        settled(subscription, clock)
        assert store.members() == {"u0", "u1", "u2"}


def test_values_of_a_computed_trait_are_a_column_of_people(settings: Any) -> None:
    """Of whatever type the column has; null once there is none any more."""
    world = World()
    with stores.postgresql("people") as store:
        settings.OUTBOUND_ALLOW = store.places
        execute(store.settings, "ALTER TABLE people ADD COLUMN spent_ever numeric")
        for n, total in enumerate((10, 2.5)):
            world.did(f"u{n}", "Ordered", properties={"total": total})
        trait = audiences.create_trait(world.space, name="Spent", definition=SPENT, by=COMMAND)
        world.computed()
        destination = make_destination(world.space, "postgresql", **store.settings)
        options = {"table": "people", "layout": "people", "column": "spent_ever"}
        settled(services.subscribe(trait, destination, options=options, by=COMMAND), world.clock)
        assert queried(store.settings, "SELECT id, spent_ever FROM people ORDER BY id") == [("u0", 10), ("u1", 2.5)]
        world.later(timedelta(days=8))
        settled(Subscription.objects.get(audience=trait), world.clock)
        assert queried(store.settings, "SELECT id, spent_ever FROM people ORDER BY id") == [("u0", None), ("u1", None)]


@pytest.mark.parametrize("name", ["postgresql", "postgresql people", "clickhouse"])
def test_a_table_gets_columns_for_fields_and_types(name: str, settings: Any, clock: FixedClock, tmp_path: Path) -> None:
    """Where they are missing, also when they are chosen later; and a number that somebody loses is gone."""
    kind, make_store = STORES[name]
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    with make_store(tmp_path) as store:
        settings.OUTBOUND_ALLOW = store.places
        destination = make_destination(space, kind, **store.settings)
        person = make_person(space, ("user_id", "u1"), ("email", "p1@x.org"), ("phone", "+49 1"), plan="pro")
        change(audience, entered=[person])
        subscription = make_subscription(audience, destination, **store.options)
        settled(subscription, clock)
        rules = {
            "identifiers": [{"type": "user_id"}, {"type": "phone", "name": "number"}],
            "fields": [{"to": "tier", "value": {"kind": "trait", "key": "plan"}}],
        }
        services.change_subscription(subscription, sending=rules, by=COMMAND)
        services.resync(subscription, by=COMMAND)
        assert settled(subscription, clock).status == Subscription.Status.IN_STEP
        assert {("u1", "+49 1", "+49 1", "pro")} == {
            row for row in store.rows("user_id, phone, number, tier") if row[1]
        }
        Identifier.objects.filter(space=space, type="phone").update(profile=make_person(space, ("user_id", "u2")))
        change(audience, refreshed=[person])
        settled(subscription, clock)
        if name != "postgresql people":  # there another audience may have said it
            assert not [row for row in store.rows("user_id, phone, number, tier") if row[1]]


@pytest.mark.parametrize("name", ["postgresql", "clickhouse", "s3 changes", "sftp changes", "kafka"])
def test_no_store_is_reached_past_the_door(name: str, settings: Any, clock: FixedClock, tmp_path: Path) -> None:
    kind, make_store = STORES[name]
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    with make_store(tmp_path) as store:
        settings.OUTBOUND_ALLOW = []
        destination = make_destination(space, kind, **store.settings)
        assert "private network" in services.test_destination(destination, now=clock.now()).message
        change(audience, entered=[make_person(space, ("user_id", "u1"))])
        subscription = make_subscription(audience, destination, **store.options)
        assert synced(subscription, clock).status == Subscription.Status.SUSPENDED
        assert "private network" in subscription.error


def test_a_broker_that_the_cluster_names_is_checked_as_well(settings: Any, clock: FixedClock) -> None:
    """Only the first broker may be reached; the other one is named by it."""
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    with stores.kafka() as store:
        settings.OUTBOUND_ALLOW = store.places[:1]
        destination = make_destination(space, "kafka", **store.settings)
        people = [make_person(space, ("user_id", f"u{n}")) for n in range(12)]  # in every partition
        change(audience, entered=people)
        subscription = make_subscription(audience, destination)
        assert synced(subscription, clock).status == Subscription.Status.SUSPENDED
        assert "private network" in subscription.error
