"""Where destinations that are not other companies' tools keep people: real stores on loopback, and who is in them."""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import boto3
import httpx
import psycopg2
import pyarrow
from confluent_kafka import Consumer, Producer, TopicPartition
from moto.server import ThreadedMotoServer
from pyarrow import parquet

from sources.events import client
from sources.events.sql import Sql
from tests import warehouses
from tests.warehouses import execute

KINDS = {"postgresql", "mysql", "clickhouse", "s3", "sftp", "kafka"}


@dataclass
class Store:
    """members(): who is in the audience `shoppers`, by what the store holds. places: what the door must let pass.

    rows(columns): of a table, of whoever is in the audience.
    """

    settings: dict[str, Any]
    members: Callable[[], set[str]]
    places: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    refuses: bool = False  # u3
    rows: Callable[[str], list[tuple[Any, ...]]] = lambda columns: []


@contextmanager
def postgresql(layout: str = "memberships") -> Iterator[Store]:
    with warehouses.postgresql("crm") as place:
        if layout == "people":
            where = "people WHERE shoppers"
            execute(place, "CREATE TABLE people (id text PRIMARY KEY, user_id text, email text, city text)")
        else:
            where = "personas_members WHERE audience = 'shoppers'"
            columns = "audience text, id text CHECK (id <> 'u3'), user_id text, email text, value text"
            execute(
                place,
                f"CREATE TABLE personas_members ({columns}, changed_at timestamptz, PRIMARY KEY (audience, id))",
            )

        def rows(columns: str) -> list[tuple[Any, ...]]:
            return queried(place, f"SELECT {columns} FROM {where}")

        options = {"layout": layout, **({"table": "people"} if layout == "people" else {})}
        places, refuses = [f"{place['host']}:{place['port']}"], layout != "people"
        yield Store(place, lambda: {id for (id,) in rows("id")}, places, options, refuses, rows)


def queried(place: dict[str, Any], query: str) -> list[tuple[Any, ...]]:
    """As the customer asks it."""
    connection = psycopg2.connect(host=place["host"], port=place["port"], dbname=place["database"], user=place["user"])
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        rows = cursor.fetchall()
    connection.close()
    return rows


@contextmanager
def clickhouse() -> Iterator[Store]:
    place = warehouses.clickhouse()
    name = f"{place['host']}:{place['port']}"
    settings = {
        "url": f"http://{name}",
        "database": place["database"],
        "user": place["user"],
        "password": place["password"],
    }

    def rows(columns: str) -> list[tuple[Any, ...]]:
        return client.rows(Sql(f"SELECT {columns} FROM crm_members FINAL WHERE audience = 'shoppers' AND member"))

    try:
        yield Store(settings, lambda: {id for (id,) in rows("id")}, [name], {"table": "crm_members"}, rows=rows)
    finally:
        client.run(Sql("DROP TABLE IF EXISTS crm_members"))


@contextmanager
def s3(**options: Any) -> Iterator[Store]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    endpoint = f"http://127.0.0.1:{port}"
    httpx.post(f"{endpoint}/moto-api/reset")  # what an earlier server of this process has kept
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "secret-key"}
    bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="people")
    settings = {"bucket": "people", "accessKeyId": "AKIA", "secretAccessKey": "secret-key", "endpoint": endpoint}

    def members() -> set[str]:
        files = {file.key: file.get()["Body"].read() for file in bucket.objects.all()}
        assert files.pop("personas-test.txt")
        return in_files(files, options.get("contents", "changes"))

    try:
        yield Store(settings, members, [f"127.0.0.1:{port}"], options)
    finally:
        server.stop()


@contextmanager
def sftp(folder: Path, **options: Any) -> Iterator[Store]:
    host_key, own_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (folder / "in").mkdir()
    (folder / "keys").write_bytes(own_key.export_public_key())
    loop = asyncio.new_event_loop()

    async def listen() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(folder / "keys"),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder).encode()),
        )

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    settings = {
        "host": "127.0.0.1",
        "port": server.get_port(),
        "user": "personas",
        "privateKey": own_key.export_private_key().decode().replace("\n", " "),
        "hostKey": host_key.export_public_key().decode(),
        "folder": "/in",
    }

    def members() -> set[str]:
        paths = [path for path in (folder / "in").rglob("*") if path.is_file()]
        assert not [path for path in paths if path.name.startswith(".")]
        return in_files({str(path): path.read_bytes() for path in paths}, options.get("contents", "changes"))

    try:
        yield Store(settings, members, [f"127.0.0.1:{settings['port']}"], options)
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextmanager
def kafka() -> Iterator[Store]:
    """librdkafka's cluster of two brokers; it lives as long as the client that made it."""
    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 2})
    brokers = [f"{broker.host}:{broker.port}" for broker in cluster.list_topics(timeout=10).brokers.values()]
    partitions = (
        cluster.list_topics("people", timeout=10).topics["people"].partitions
    )  # it is created when it is asked for

    def members() -> set[str]:
        consumer = Consumer({"bootstrap.servers": brokers[0], "group.id": "test", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition("people", number, 0) for number in partitions])
        newest: dict[str, bool] = {}
        while message := consumer.poll(2):
            assert not message.error()
            newest[message.key().decode().removeprefix("shoppers/")] = json.loads(message.value())["member"]
        consumer.close()
        return {person for person, member in newest.items() if member}

    yield Store({"brokers": brokers[0], "topic": "people", "tls": "off"}, members, brokers)
    del cluster


def in_files(files: dict[str, bytes], contents: str) -> set[str]:
    """By all files together, in the order of their rows; of everybody there is one file."""
    rows = [row for name, body in files.items() for row in _rows(name, body)]
    if contents == "everybody":
        assert len(files) == 1, list(files)
        return {row["user_id"] or row["email"] for row in rows}
    newest: dict[str, tuple[str, bool]] = {}
    for row in rows:
        person = row["user_id"] or row["email"]
        if row["at"] >= newest.get(person, ("", False))[0]:
            newest[person] = row["at"], row["entered"] in (True, "true")
    return {person for person, (_, entered) in newest.items() if entered}


def _rows(name: str, body: bytes) -> list[dict[str, Any]]:
    if name.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(body.decode())))
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in body.splitlines()]
    return parquet.read_table(pyarrow.BufferReader(body)).to_pylist()
