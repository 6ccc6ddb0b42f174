"""Two people change audiences at the same time: keys stay apart, and no circle closes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from access.services import COMMAND, NotPossible
from audiences import services
from audiences.models import Audience, Version
from audiences.rules.validation import DefinitionError
from spaces.clock import clock
from spaces.models import Space
from tests.factories import SpaceFactory

pytestmark = pytest.mark.django_db(transaction=True)

ORDERED = {"kind": "event", "name": "Ordered"}


@pytest.fixture
def space() -> Space:
    return SpaceFactory()


def in_audience(key: str) -> dict[str, str]:
    return {"kind": "audience", "key": key}


def at_once(*changes: Any) -> list[Any]:
    """All of them begin together, each on a connection of its own. What each came to, errors included."""
    start = Barrier(len(changes))

    def run(change: Any) -> Any:
        try:
            start.wait()
            return change()
        except (DefinitionError, NotPossible) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(changes)) as pool:
        return list(pool.map(run, changes))


def test_audiences_of_one_name_made_at_once_have_keys_of_their_own(space: Space) -> None:
    def make() -> Audience:
        return services.create_audience(space, name="Buyers", definition=ORDERED, by=COMMAND)

    made = at_once(*[make] * 6)
    assert {each.key for each in made} == {"buyers", *(f"buyers_{n}" for n in range(2, 7))}


@pytest.mark.parametrize("attempt", range(5))
def test_two_halves_of_a_circle_at_once_leave_it_open(space: Space, attempt: int) -> None:
    first, second = (services.create_audience(space, name=name, definition=ORDERED, by=COMMAND) for name in "ab")

    def point(audience: Audience, other: Audience) -> Any:
        fresh = Audience.objects.get(pk=audience.pk)
        return lambda: services.change_audience(fresh, definition=in_audience(other.key), by=COMMAND)

    found = at_once(point(first, second), point(second, first))
    assert sorted(type(each).__name__ for each in found) == ["DefinitionError", "NoneType"]


@pytest.mark.parametrize("attempt", range(5))
def test_what_is_deleted_and_asked_about_at_once_is_only_one_of_both(space: Space, attempt: int) -> None:
    audience = services.create_audience(space, name="a", definition=ORDERED, by=COMMAND)
    found = at_once(
        lambda: services.delete_audience(audience, now=clock.now(), by=COMMAND),
        lambda: services.create_audience(space, name="b", definition=in_audience("a"), by=COMMAND),
    )
    assert sum(isinstance(each, DefinitionError | NotPossible) for each in found) == 1


def test_changes_made_at_once_are_versions_one_after_the_other(space: Space) -> None:
    audience = services.create_audience(space, name="a", definition=ORDERED, by=COMMAND)

    def edit(times: int) -> Any:
        fresh = Audience.objects.get(pk=audience.pk)
        return lambda: services.change_audience(fresh, definition=ORDERED | {"atLeast": times}, by=COMMAND)

    assert at_once(*(edit(times) for times in range(2, 7))) == [None] * 5
    versions = Version.objects.filter(audience=audience).order_by("number")
    assert [each.number for each in versions] == [1, 2, 3, 4, 5, 6]
    assert [each.state for each in versions] == [*["replaced"] * 5, "computing"]


def test_a_change_leaves_alone_what_a_tick_wrote_meanwhile(space: Space) -> None:
    audience = services.create_audience(space, name="a", definition=ORDERED, by=COMMAND)
    Audience.objects.filter(pk=audience.pk).update(size=7)
    services.change_audience(audience, name="b", by=COMMAND)
    audience.refresh_from_db()
    assert (audience.name, audience.size) == ("b", 7)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Käufer in Köln", "kaufer_in_koln"),
        ("Постоянные клиенты", "postoyannye_klienty"),
        ("高价值客户", "gaojiazhikehu"),
        ("2024", "audience_2024"),
        ("…", "audience"),
    ],
)
def test_the_key_of_a_name_in_any_script_can_be_read(name, key):
    assert services.key_for(SpaceFactory(), name) == key
