"""MariaDB as a warehouse: a server of this run, asked by the code that asks a customer's (Debian: mariadb-*-core)."""

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
from tests import warehouses
from tests.factories import SpaceFactory

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
        yield {"host": "127.0.0.1", "port": port, "database": "shop", "user": "reader", "password": "correct-horse"}
    finally:
        process.kill()
        process.wait()


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
