"""Of each kind of destination, no secret of its settings comes to light: not when it is saved and shown, not when the
tool echoes whatever it was sent, not in what is kept of the calls, not in the tables, and not in the log.
"""

import base64
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

from audiences.models import Audience
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Destination
from destinations.rules.contract import DestinationRequest
from destinations.rules.send_batch import Unanswered
from destinations.transports import TRANSPORTS
from sources.events import client
from sources.events.sql import Sql
from spaces.answers import Answer
from spaces.clock import FixedClock
from spaces.outbound import Caller
from spaces.settings_schema import InvalidSetting, SettingField, fields_of, parse
from tests.cast import Cast
from tests.factories_destinations import AudienceFactory, change, make_person, make_subscription
from tests.flows.test_gaps import synced
from tests.receiver import Got, Reply, receiving
from tests.vendors import LISTS, SETTINGS, VENDORS, redirected

pytestmark = pytest.mark.django_db
PLANTED = "pl4nt+d/s3cr3t"  # with signs that a query and JSON write otherwise
KEYS = {
    kind: [field for field in fields_of(adapter.settings) if field.secret] for kind, adapter in all_adapters().items()
}
ECHOING = [kind for kind, fields in KEYS.items() if fields]
OPTIONS = {kind: options for kind, (_, _, options, *_) in [*LISTS.items(), *VENDORS.items()]}


def planted(kind: str) -> dict[str, Any]:
    """Settings in which each secret holds the planted word, in a form that its kind takes."""
    given, declared = dict(SETTINGS[kind]), adapter_of(kind).settings
    for field in KEYS[kind]:
        given[field.name] = next(
            form for form in forms(field, given.get(field.name, "")) if takes(declared, given, field, form)
        )
    return given


def forms(field: SettingField, usual: str) -> Iterator[str]:
    if field.url:
        yield f"{usual.rstrip('/')}/{quote(PLANTED, safe='')}"
    yield usual.replace("secret", PLANTED) if "secret" in usual else PLANTED
    yield f'{{"X-Key": "{PLANTED}"}}'
    yield "whsec_" + base64.b64encode(PLANTED.encode() * 2).decode()


def takes(declared: Any, given: dict[str, Any], field: SettingField, form: str) -> bool:
    try:
        parse(declared, {**given, field.name: form})
    except InvalidSetting:
        return False
    return True


def traces() -> set[str]:
    """The word as it is, and all that it can be read from."""
    raw = PLANTED.encode()
    parts = {
        base64.b64encode(bytes(before) + raw).decode().rstrip("=")[(before * 8 + 5) // 6 :][:16] for before in range(3)
    }
    return {PLANTED, quote(PLANTED, safe=""), json.dumps(PLANTED)[1:-1], raw.hex(), *parts}


def shows(text: str) -> list[str]:
    return [
        text[max(at.start() - 60, 0) : at.end() + 20]
        for trace in traces()
        for at in re.finditer(re.escape(trace), text)
    ]


def answering(status: int, got: Got) -> Reply:
    """With all that was sent."""
    return Reply(status, f"no: {got.method} {got.path} {got.headers} {got.body.decode(errors='replace')}".encode())


@contextmanager
def echoing(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """What another transport than HTTP would say at its worst."""

    def call(request: DestinationRequest) -> Answer:
        raise Unanswered(f"cannot connect with {settings}", arrived=True)

    yield call


@pytest.mark.parametrize("kind", ECHOING)
def test_no_secret_of_a_destination_comes_to_light(
    kind: str,
    cast: Cast,
    clock: FixedClock,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    told: list[str] = []
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        monkeypatch.setattr(Caller, "send", redirected(Caller.send, server))
        monkeypatch.setattr("destinations.send.pace", lambda name, **more: True)
        for transport in {*TRANSPORTS} - {"http", "s3", "catcher"}:
            monkeypatch.setitem(TRANSPORTS, transport, echoing)
        server.answer = partial(answering, 500)

        def api(method: str, path: str, given: Any = None) -> Any:
            answer = cast.call("admin", method, f"/api/spaces/{cast.space.public_id}/{path}", given)
            assert answer.status_code < 300, answer.content
            told.append(answer.content.decode())
            return answer.json()["data"]

        def page(path: str) -> None:
            answer = cast.window("owner").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}")
            assert answer.status_code == 200
            told.append(answer.content.decode())

        given = planted(kind)
        assert shows(json.dumps(given))
        id = api("POST", "destinations", {"kind": kind, "name": "Planted", "settings": given})["destination"]["id"]
        destination = Destination.objects.get(public_id=id)
        audience: Audience = AudienceFactory(space=cast.space, key="shoppers")
        person = make_person(cast.space, ("user_id", "u1"), ("email", "p1@x.org"))
        change(audience, entered=[person])
        subscription = make_subscription(audience, destination, **OPTIONS.get(kind, {}))
        for status in (500, 400, 401):  # the last one stops it
            server.answer = partial(answering, status)
            api("POST", f"destinations/{id}/test")
            synced(subscription, clock)
            clock.advance(timedelta(days=1))
        where = f"audiences/{audience.public_id}/destination-connections/{subscription.public_id}"
        for path in ("destinations", f"destinations/{id}", f"destinations/{id}/deliveries", where):
            api("GET", path)
        page(f"destinations/{id}")
        page("deliveries")
        page(f"audiences/{audience.public_id}/destinations/{subscription.public_id}")
        page(f"subscriptions/{subscription.public_id}/tester")
    assert server.got or adapter_of(kind).transport not in ("http", "s3")
    told += rows_of_tables()
    told += [str(row) for row in client.rows(Sql(f"SELECT * FROM delivery_log WHERE subscription = {subscription.pk}"))]
    told.append(caplog.text)
    assert [shown for text in told for shown in shows(text)] == []


def rows_of_tables() -> list[str]:
    """Every row of every table as text: what a dump has in clear."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        cursor.execute(" UNION ALL ".join(f"SELECT row::text FROM {table} AS row" for table in tables))
        return [text for (text,) in cursor.fetchall()]
