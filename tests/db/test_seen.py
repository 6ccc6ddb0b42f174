"""What is suggested comes from the newest rows, however many older ones there are."""

import pytest

from sources.events import client, seen
from sources.events.sql import sql
from sources.events.timeline import Scope
from spaces.batches import Visible
from tests.factories import SpaceFactory

pytestmark = pytest.mark.django_db
MANY = seen.SAMPLED * 2


@pytest.fixture
def scope():
    space = SpaceFactory()
    return Scope(space.workspace_id, space.pk, Visible(space.pk, 9))


def many_events(scope, *, rows, profile, properties, day):
    """One event a second of one profile, from the day on. Rows of small profile numbers come first in the table."""
    client.run(
        sql(
            "INSERT INTO timeline (workspace, space, piece, position, profile, ts, type, event, properties_text) "
            "SELECT %s, %s, 1, number, %s, toDateTime64(%s, 3, 'UTC') + number, 'track', 'Ordered', %s "
            "FROM numbers(%s)",
            scope.workspace_id,
            scope.space_id,
            profile,
            day,
            properties,
            rows,
        )
    )


def test_properties_and_values_are_those_of_the_newest_events(scope):
    many_events(scope, rows=MANY, profile=1, properties='{"old": "was"}', day="2026-06-01 00:00:00")
    many_events(scope, rows=5, profile=2, properties='{"sku": "boot"}', day="2026-06-20 00:00:00")
    assert list(seen.properties(scope, "Ordered")) == ["old", "sku"]
    assert seen.property_values(scope, "Ordered", sql("[toString(properties.sku)]")) == {"boot": 5}
    many_events(scope, rows=MANY, profile=1, properties='{"sku": "shoe"}', day="2026-06-21 00:00:00")
    assert list(seen.properties(scope, "Ordered")) == ["sku"]
    assert seen.property_values(scope, "Ordered", sql("[toString(properties.sku)]")) == {"shoe": seen.SAMPLED}


def test_values_of_a_trait_are_the_newest_ones(scope):
    rows = sql(
        "INSERT INTO traits (workspace, space, piece, position, profile, key, value, ts) "
        "SELECT %s, %s, 1, number, number, 'plan', if(number < %s, '\"gone\"', '\"pro\"'), "
        "toDateTime64('2026-06-01 00:00:00', 3, 'UTC') + number FROM numbers(%s)",
        scope.workspace_id,
        scope.space_id,
        MANY - seen.SAMPLED,
        MANY,
    )
    client.run(rows)
    assert seen.trait_values(scope, "plan", sql("[JSONExtractString(value)]")) == {"pro": seen.SAMPLED}
