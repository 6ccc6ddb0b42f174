"""A connection is checked before a request, without a statement while it is in use."""

import time

import psycopg2
import pytest
from django.db import connection

from personas_site.postgresql import base

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the server was asked for: whether it was there each time."""
    answers: list[bool] = []
    usable = base.DatabaseWrapper.is_usable

    def is_usable(self: base.DatabaseWrapper) -> bool:
        answers.append(usable(self))
        return answers[-1]

    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", is_usable)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    monkeypatch.setattr(connection, "_answered_at", float("-inf"))
    connection.close()
    return answers


def begin_request() -> None:
    """As Django does, and use the connection."""
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")


def number() -> int:
    return int(connection.connection.info.backend_pid)


def test_the_server_is_asked_now_and_then(asked: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])
    begin_request()  # connects
    for _ in range(5):
        begin_request()
    assert asked == [True]
    now[0] += base.BELIEVED_FOR_S
    begin_request()
    assert asked == [True, True]


def test_a_connection_that_the_server_ended_is_replaced_before_it_is_used(asked: list[bool]) -> None:
    begin_request()
    begin_request()
    ended = number()
    parameters = connection.get_connection_params()
    other = psycopg2.connect(**{key: parameters[key] for key in parameters if key != "cursor_factory"})
    other.autocommit = True
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [ended])
    other.close()
    begin_request()
    assert asked == [True, False]
    assert number() != ended
