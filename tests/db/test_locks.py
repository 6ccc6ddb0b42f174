"""What belongs to one holds up nobody else: while a row is held for a change, the other stages go on writing theirs."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.db import connection, transaction

from destinations.models import Subscription
from destinations.sync import Sync
from identity import services as identity
from personas_site import pipeline
from sources import services as sources
from sources.models import Connection, Replay
from spaces.batches import open_log
from spaces.clock import FixedClock
from spaces.models import Space
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_destination, make_people, make_subscription
from tests.factories_identity import NOON, archived, message
from tests.house import APPS

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def other() -> Iterator[Any]:
    """Another connection, which waits for nobody."""
    opened = psycopg2.connect(**connection.get_connection_params())
    with opened.cursor() as cursor:
        cursor.execute("SET lock_timeout = '500ms'")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what a commit would check
        yield cursor
    opened.rollback()
    opened.close()


def connecting(space: Space) -> None:
    sources.connect(space, [SourceFactory(workspace=space.workspace)], clock=FixedClock(NOON))


def _connected(space: Space) -> Connection:
    source = SourceFactory(workspace=space.workspace)
    archived(source, message(userId="u1"))
    sources.connect(space, [source], clock=FixedClock(NOON))
    return Connection.objects.get(space=space)


def disconnecting(space: Space) -> None:
    sources.disconnect(_connected(space), FixedClock(NOON))


def cancelling(space: Space) -> None:
    _connected(space)
    sources.cancel_replay(Replay.objects.get(space=space), FixedClock(NOON))


def changing_the_rules(space: Space) -> None:
    identity.change_policy(space, None)


def syncing(space: Space) -> None:
    audience = AudienceFactory(space=space)
    change(audience, entered=make_people(space, 2))
    subscription = make_subscription(audience, make_destination(space))
    log = open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    stage = Sync(FixedClock(NOON))
    intake = stage.read(log, 10)
    assert intake is not None
    assert stage.prepare(log, intake, 1) is not None


@pytest.mark.parametrize("doing", [connecting, disconnecting, cancelling, changing_the_rules, syncing])
def test_a_change_in_a_space_stops_no_stage_from_adding_rows(doing: Callable[[Space], None], other: Any) -> None:
    """Such a row refers to its space; while that were locked, the commit of a resolve Prepare would wait."""
    space = SpaceFactory()
    with transaction.atomic():
        doing(space)
        other.execute(
            """INSERT INTO identity_link (workspace_id, space_id, "user", account, first_seen_at)
               VALUES (%s, %s, 1, 2, now())""",
            [space.workspace_id, space.pk],
        )


def test_a_decision_of_one_subscription_does_not_wait_for_another_of_its_space(other: Any) -> None:
    space = SpaceFactory()
    destination = make_destination(space)
    first, second = (make_subscription(AudienceFactory(space=space), destination) for _ in range(2))
    held = Subscription.objects.select_for_update(of=("self",)).select_related("space")
    with transaction.atomic():
        held.get(pk=first.pk)
        with transaction.atomic():
            text, values = held.filter(pk=second.pk).query.sql_with_params()
        other.execute(text, values)


def test_whoever_locks_rows_says_which() -> None:
    """With `select_related` Django locks the rows of every table that it joins, unless `of` names them."""
    wrong = []
    for path in (path for app in APPS for path in (ROOT / app).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            chain = _chain(node)
            locks = chain.get("select_for_update")
            if locks is not None and "select_related" in chain and "of" not in {each.arg for each in locks.keywords}:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    assert wrong == []


def _chain(node: ast.AST) -> dict[str, ast.Call]:
    """The methods that are called one after the other, by name."""
    found: dict[str, ast.Call] = {}
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        found[node.func.attr] = node
        node = node.func.value
    return found


def test_who_is_served_while_the_locks_are_lost_is_served_again(monkeypatch):
    """As when PostgreSQL is killed in the middle of a turn: no process may take the job for one that still runs."""
    space = SpaceFactory()
    served = []

    def turn(owner, workspace):
        served.append(owner)
        if len(served) == 1:
            with connection.cursor() as cursor:
                locked = "datname = current_database() AND query LIKE '%pg_try_advisory_lock%'"
                others = f"{locked} AND pid <> pg_backend_pid()"
                cursor.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}")
                assert cursor.fetchall() == [(True,)]
        return False

    one = pipeline.Work(queue="one", owners=Space, waiting=lambda now: [space.pk], turn=turn)
    monkeypatch.setattr(pipeline, "WORK", {"one": one})
    with pytest.raises(psycopg2.Error):
        pipeline.work("one")
    pipeline.work("one")
    assert served == [space.pk] * 2
