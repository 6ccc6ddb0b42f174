"""The stores of the tests as a customer's warehouses: PostgreSQL over TCP, and ClickHouse."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from django.conf import settings
from django.db import connections

from access.services import COMMAND
from audiences import sql_traits
from audiences.models import Warehouse
from spaces.models import Space


@contextmanager
def relayed(path: str) -> Iterator[int]:
    """A port of the loopback that leads to the socket at `path`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, path), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(server: socket.socket, path: str) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        there = socket.socket(socket.AF_UNIX)
        there.connect(path)
        for one, other in ((client, there), (there, client)):
            threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while part := one.recv(65536):
            other.sendall(part)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def postgresql(name: str = "shop") -> Iterator[dict[str, Any]]:
    """The settings of a warehouse of its own, empty, at the PostgreSQL of the tests."""
    folder = connections["default"].settings_dict["HOST"]
    admin = psycopg2.connect(host=folder, dbname="postgres", user="personas_owner")
    admin.autocommit = True
    with relayed(os.path.join(folder, ".s.PGSQL.5432")) as port:
        with admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {name}")
        yield {"host": "127.0.0.1", "port": port, "database": name, "user": "personas_owner", "tls": "off"}
        with admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    admin.close()


def execute(place: dict[str, Any], statement: str) -> None:
    """As the customer does it, in a database of `postgresql`."""
    names = {"dbname": place["database"], **{name: place[name] for name in ("host", "port", "user")}}
    connection = psycopg2.connect(**names)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def clickhouse() -> dict[str, Any]:
    url = urlsplit(settings.CLICKHOUSE_URL)
    user, password = url.username or "default", url.password or ""
    database = url.path.strip("/") or "default"
    return {
        "host": url.hostname, "port": url.port, "database": database, "user": user, "password": password, "tls": "off",
    }  # fmt: skip


def allow(monkeypatch: pytest.MonkeyPatch, place: dict[str, Any]) -> None:
    """Whoever runs the installation lets warehouses be there."""
    monkeypatch.setattr(settings, "OUTBOUND_ALLOW", [f"{place['host']}:{place['port']}"])


def make_warehouse(space: Space, place: dict[str, Any], kind: str = "postgresql") -> Warehouse:
    return sql_traits.create_warehouse(space, kind=kind, name="Shop", settings=place, by=COMMAND)
