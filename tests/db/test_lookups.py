"""Look-ups of many identifiers stay look-ups, whatever the planner believes about a space."""

import pytest
from django.db import connection, connections, transaction

from identity import graph_store
from identity.models import Identifier, Profile
from identity.rules.messages import ArchivedEvent
from identity.rules.policy import DEFAULT_POLICY
from identity.rules.splits import SplitIndex
from tests.factories import SpaceFactory

MANY, WANTED = 3_000, 200


def fill(space):
    rows = (
        Identifier(
            workspace=space.workspace,
            space=space,
            number=number,
            type="user_id",
            value=f"u{number}",
            profile=number,
            first_seen_at="2026-06-15T12:00:00Z",
            message_id=f"m{number}",
        )
        for number in range(1, MANY + 1)
    )
    Identifier.objects.bulk_create(rows)
    Profile.objects.bulk_create(
        Profile(workspace=space.workspace, space=space, number=number, first_seen_at="2026-06-15T12:00:00Z")
        for number in range(1, MANY + 1)
    )


def event(user_id):
    return ArchivedEvent("track", "Viewed", (("user_id", user_id),), None, b"{}", b"{}", {})


def rows_read(cursor):
    cursor.execute("SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'identity_identifier'")
    return cursor.fetchone()[0] or 0


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_space_that_is_newer_than_the_statistics_is_not_read_whole_for_every_value():
    fill(SpaceFactory())
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE identity_identifier")
    newer = SpaceFactory()
    fill(newer)
    events = [event(f"u{number}") for number in range(1, WANTED + 1)]
    with transaction.atomic(), connection.cursor() as cursor:
        before = rows_read(cursor)
        graph = graph_store.load(newer, events, DEFAULT_POLICY, SplitIndex())
        assert sorted(graph.holder) == sorted(event.user[0] for event in events)
        assert rows_read(cursor) - before <= 4 * WANTED
