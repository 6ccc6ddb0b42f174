"""MariaDB as a warehouse and as a destination: a server of this run, by the code that asks a customer's.

Debian: mariadb-*-core.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from audiences import sql_traits
from audiences.models import Warehouse
from audiences.rules.sql_rows import RowsError
from benchmarks.stack import until
from destinations import holdings
from destinations.models import Acknowledged
from destinations.transports import TRANSPORTS
from spaces.clock import FixedClock
from tests import warehouses
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.flows.test_stores import losing
from tests.flows.test_vendors import settled

pytestmark = pytest.mark.django_db
PATH = os.environ["PATH"] + os.pathsep + "/usr/sbin"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The settings of a database with two people, at a server that ends with the module."""
    install, mariadbd = (shutil.which(name, path=PATH) for name in ("mariadb-install-db", "mariadbd"))
    if not install or not mariadbd:
        pytest.fail("MariaDB is missing: install mariadb-server-core and mariadb-client-core")
    folder = tmp_path_factory.mktemp("mariadb")
    user = ["--user=root"] if os.getuid() == 0 else []
    own = ["--no-defaults", f"--datadir={folder / 'data'}", *user]
    subprocess.run(
        [install, *own, "--auth-root-authentication-method=normal", "--skip-test-db"], check=True, capture_output=True
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}"]
    process = subprocess.Popen([mariadbd, *own, *place], stderr=(folder / "log").open("w"))
    try:
        until(lambda: answers(port), within_s=60)
        connection = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("CREATE TABLE shop.people (user_id text, tier text, spent decimal(9, 2), born date)")
            cursor.execute("INSERT INTO shop.people VALUES ('u1', 'gold', 12.50, '2000-02-29'), ('ü', NULL, 3, NULL)")
            cursor.execute("CREATE USER reader IDENTIFIED BY 'correct-horse'")
            cursor.execute("GRANT SELECT, INSERT ON shop.* TO reader")
            cursor.execute("CREATE USER writer IDENTIFIED BY 'correct-horse'")
            cursor.execute("GRANT CREATE, ALTER, SELECT, INSERT, UPDATE, DELETE ON shop.* TO writer")
        yield {"host": "127.0.0.1", "port": port, "database": "shop", "user": "reader", "password": "correct-horse"}
    finally:
        process.kill()
        process.wait()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("layout", ["memberships", "people"])
def test_a_table_ends_with_the_audience(
    layout: str, server: dict[str, Any], settings: Any, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOUND_ALLOW = [f"{server['host']}:{server['port']}"]
    whole = TRANSPORTS["mysql"]
    monkeypatch.setitem(TRANSPORTS, "mysql", losing(whole))
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    place = {name: server[name] for name in ("host", "port", "database", "password")}
    destination = make_destination(space, "mysql", **place, user="writer", tls="off")
    people = {n: make_person(space, ("user_id", f"u{n}"), ("email", f"p{n}@x.org")) for n in range(8)}
    long = make_person(space, ("user_id", "u" * 300))  # longer than the table's key
    change(audience, entered=[*[people[n] for n in range(6)], long])
    subscription = make_subscription(audience, destination, layout=layout, table=f"crm_{layout}")
    settled(subscription, clock)
    change(audience, left=[people[0], people[1]], entered=[people[6]])
    settled(subscription, clock)
    change(audience, left=[people[5]], entered=[people[1], people[7]])
    settled(subscription, clock)
    connection = pymysql.connect(host="127.0.0.1", port=server["port"], user="root", database="shop")
    with connection, connection.cursor() as cursor:
        inside = "audience = 'shoppers'" if layout == "memberships" else "shoppers"
        cursor.execute(f"SELECT id FROM crm_{layout} WHERE {inside}")
        assert {id for (id,) in cursor.fetchall()} == {f"u{n}" for n in (1, 2, 3, 4, 6, 7)}
    refused = Acknowledged.objects.filter(subscription=subscription).exclude(refused="")
    assert [row.profile for row in refused] == [long]
    monkeypatch.setitem(TRANSPORTS, "mysql", whole)
    result = holdings.holdings(subscription)
    assert result is not None
    assert (result.existing, result.missing, result.extra_count) == (6, [("id", "u" * 300)], 0)


def answers(port: int) -> bool:
    try:
        pymysql.connect(host="127.0.0.1", port=port, user="root").close()
    except pymysql.MySQLError:
        return False
    return True


@pytest.fixture
def warehouse(server: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    warehouses.allow(monkeypatch, server)
    return warehouses.make_warehouse(SpaceFactory(), server | {"tls": "off"}, "mysql")


def test_a_query_is_asked(warehouse: Warehouse) -> None:
    assert sql_traits.test_warehouse(warehouse) == ""
    preview = sql_traits.preview_sql(warehouse, "SELECT user_id, tier, spent, born FROM people ORDER BY user_id -- all")
    assert [(row.identifier, dict(row.values)) for row in preview.rows] == [
        ("u1", {"tier": "gold", "spent": 12.5, "born": "2000-02-29"}),
        ("ü", {"tier": None, "spent": 3, "born": None}),
    ]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM nowhere", "shop.nowhere' doesn't exist"),
        ("INSERT INTO people VALUES ('u3', 'x', 1, NULL)", "error in your SQL syntax"),
        ("SELECT 1) AS a; INSERT INTO people SELECT * FROM (SELECT 'u3', 'x', 1, NULL", "error in your SQL syntax"),
        ("SELECT user_id, sleep(9) AS tier FROM people", "max_statement_time exceeded"),
    ],
)
def test_what_it_refuses_is_told_in_its_own_words(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, query: str, words: str
) -> None:
    monkeypatch.setattr(sql_traits, "PREVIEW_S", 1.0)
    with pytest.raises(RowsError, match=words):
        sql_traits.preview_sql(warehouse, query)


def test_a_server_without_tls_is_not_asked_where_tls_is_demanded(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouses.allow(monkeypatch, server)
    verified = warehouses.make_warehouse(SpaceFactory(), server | {"tls": "verify"}, "mysql")
    assert "SSL" in sql_traits.test_warehouse(verified)
    wrong = warehouses.make_warehouse(SpaceFactory(), server | {"tls": "off", "password": "wrong-horse"}, "mysql")
    said = sql_traits.test_warehouse(wrong)
    assert "Access denied" in said
    assert "wrong-horse" not in said
