"""Backups: PostgreSQL and ClickHouse as of one moment, in one folder, taken while everything runs.

A snapshot of PostgreSQL says which batches each log had committed, so ClickHouse's copy is that of the same moment
when it takes the rows of these batches, whatever has been written since. Rows are never changed, and deletions wait
until the copy is made. A batch that was prepared and not committed is in the snapshot: whoever restores it writes its
rows. Redis has nothing that is not made again.

    manifest.json            what there is: counts, digests, the release's migrations, fingerprints of the keys
    postgresql.dump          pg_dump's own format
    clickhouse/<table>-<n>   rows in ClickHouse's Native format, zstd
    keys/                    only when asked for
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import clickhouse_connect.driver.exceptions
import django.db
import psycopg2
import zstandard
from django.conf import settings
from django.core.cache import cache
from django.db import connections

from personas_site import keys
from personas_site.embedded import postgres
from personas_site.embedded.accounts import StartError
from personas_site.embedded.paths import PROJECT_ROOT
from sources.events import client
from sources.events.migrate import SchemaError, applied, apply, known
from sources.events.schema import TABLES, Table
from sources.events.sql import Sql, sql
from spaces.batches import ERASING, Locks, Visible

FORMAT = 1
ROWS = 50_000  # of one file, about: a restore holds one in memory
SAID_EVERY_S = 2.0
KEYS = ("secret.key", "field.key")
MANIFEST, DUMP, ROWS_FOLDER, KEYS_FOLDER = "manifest.json", "postgresql.dump", "clickhouse", "keys"
LIBPQ = {
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}

Say = Callable[[str], None]


class NotDone(Exception):
    """A backup cannot be made or restored. The message is for the administrator."""


# What an administrator is told in a sentence.
FAILURES = (
    NotDone,
    StartError,
    SchemaError,
    OSError,
    django.db.Error,
    psycopg2.Error,
    clickhouse_connect.driver.exceptions.Error,
)


def backup(folder: Path, *, with_keys: bool, say: Say) -> None:
    """The folder holds a backup. It appears when it is whole; until then it is `<folder>.partial`.

    Raises NotDone, and what the stores raise.
    """
    if folder.exists():
        raise NotDone(f"{folder} exists: give a folder that does not")
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.exists():  # of one that was interrupted
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700, parents=True)
    try:
        with Locks() as locks:
            while not locks.take(ERASING):
                say("waiting for a deletion, or for another backup …")
                sleep(1)
            with _snapshot() as (snapshot, logs):
                say("PostgreSQL …")
                _postgres("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={partial / DUMP}")
            tables = {table.name: _copy_out(table, logs[table.log[0]], partial, say) for table in TABLES}
        if with_keys:
            (partial / KEYS_FOLDER).mkdir(mode=0o700)
            for key in (settings.PERSONAS_HOME / name for name in KEYS):
                if key.exists():  # where the keys come from the environment there is none
                    shutil.copy(key, partial / KEYS_FOLDER)
        _write_manifest(partial, tables)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def _snapshot() -> Iterator[tuple[str, Mapping[str, list[Visible]]]]:
    """A moment of PostgreSQL that `pg_dump` can be given, and what was visible then of the logs of each stage."""
    with closing(psycopg2.connect(**connections["owner"].get_connection_params())) as server, server.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        (name,) = cursor.fetchone()
        cursor.execute(
            "SELECT l.stage, l.owner, l.published, array_remove(array_agg(a.number), NULL)"
            " FROM spaces_log l LEFT JOIN spaces_abandoned a ON a.log_id = l.id GROUP BY l.id ORDER BY l.owner"
        )
        logs: dict[str, list[Visible]] = {table.log[0]: [] for table in TABLES}
        for stage, partition, end, abandoned in cursor.fetchall():
            logs.setdefault(stage, []).append(Visible(partition, end, tuple(abandoned)))
        yield name, logs  # the snapshot is there for others as long as this transaction is open


def _copy_out(table: Table, logs: Sequence[Visible], folder: Path, say: Say) -> int:
    """The table's rows of committed batches are in files. How many there are."""
    (folder / ROWS_FOLDER).mkdir(mode=0o700, exist_ok=True)
    partition = table.log[1]
    # One look-up a row, not a comparison with each of thousands of logs, as `client.seen_by_owner` would be.
    ends = [log.partition for log in logs], [log.end for log in logs]
    committed = sql(f"piece <= transform(toInt64({partition}), %s, %s, toInt64(0))", *ends)
    abandoned = [(log.partition, number) for log in logs for number in log.abandoned]
    committed += sql(f" AND ({partition}, piece) NOT IN %s", abandoned) if abandoned else ""
    counted = f"SELECT {partition}, piece, count() FROM {table.name} WHERE %s GROUP BY 1, 2 ORDER BY 1, 2"
    batches = client.rows(sql(counted, committed)) if logs else ()
    total = sum(rows for _, _, rows in batches)
    progress = CopyProgress(table.name, total, say)
    for number, (first, last, rows) in enumerate(_portions(batches), start=1):
        between = sql(f"({partition}, piece) >= %s AND ({partition}, piece) <= %s", first, last)
        query = sql(f"SELECT {', '.join(_stored(table))} FROM {table.name} WHERE %s AND %s", between, committed)
        with open(folder / ROWS_FOLDER / f"{table.name}-{number:06d}", "xb") as file:
            with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as compressed:
                shutil.copyfileobj(client.native(query), compressed, 1 << 20)
            os.fsync(file.fileno())
        progress.add(rows)
    return total


def _portions(batches: Sequence[Any]) -> Iterator[tuple[tuple[int, int], tuple[int, int], int]]:
    """The batches (partition, number, rows) in runs of about ROWS rows: the first, the last, how many rows."""
    run: list[tuple[int, int]] = []
    rows = 0
    for partition, number, count in batches:
        run.append((partition, number))
        rows += count
        if rows >= ROWS:
            yield run[0], run[-1], rows
            run, rows = [], 0
    if run:
        yield run[0], run[-1], rows


def _stored(table: Table) -> list[str]:
    return [name for name, type in table.columns.items() if "EPHEMERAL" not in type]


def _write_manifest(folder: Path, tables: Mapping[str, int]) -> None:
    manifest = {
        "format": FORMAT,
        "rows": tables,
        "columns": {table.name: _stored(table) for table in TABLES},
        "eventMigrations": sorted(applied()),
        "fieldKeys": keys.field_keys(),
        "files": {str(path.relative_to(folder)): _digest(path) for path in _files(folder)},
    }
    # Last, and forced to the disk: a folder with a manifest is whole.
    with open(folder / MANIFEST, "x") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore(folder: Path, *, replace: bool, say: Say) -> None:
    """The stores hold what the backup holds, and nothing else. Nothing is touched before all of it has been checked.

    replace: what the stores hold now may go. Nothing else may work with them. Raises NotDone; one that was interrupted
    is run again, with `replace`.
    """
    manifest = _checked(folder, say)
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        (others,) = cursor.fetchone()
    if others:
        raise NotDone(f"{others} other connections to PostgreSQL: stop the console and its workers first")
    if not replace and _holds_anything():
        raise NotDone("the stores hold data already: say --replace, and it goes for good")
    with connections["owner"].cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    for name in (*(table.name for table in TABLES), "schema_migrations"):
        client.run(Sql(f"DROP TABLE IF EXISTS {name} SYNC"))
    # As of the release that made the backup; `prepare` does the rest, with the rows in place.
    apply(migration for migration in known() if migration.name in manifest["eventMigrations"])
    for table, rows in manifest["rows"].items():
        _copy_in(table, manifest["columns"][table], rows, folder, say)
    # Last, and in one transaction: until then the stores are empty for everybody.
    say("PostgreSQL …")
    _postgres(
        "pg_restore", "--no-owner", "--no-acl", "--single-transaction", "--exit-on-error",
        f"--dbname={connections['owner'].settings_dict['NAME']}", str(folder / DUMP),
    )  # fmt: skip
    cache.clear()
    connections.close_all()
    for key in (folder / KEYS_FOLDER).glob("*"):
        target = settings.PERSONAS_HOME / key.name
        target.unlink(missing_ok=True)  # it may be one that nobody may write
        shutil.copy(key, target)
    say("preparing …")
    done = subprocess.run([sys.executable, "manage.py", "prepare", "--static"], cwd=PROJECT_ROOT, check=False)
    if done.returncode:
        raise NotDone("all is restored, but `manage.py prepare` failed: see above")


def _checked(folder: Path, say: Say) -> dict[str, Any]:
    """The manifest of a backup that is whole, and that this release and these keys can read. Raises NotDone."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise NotDone(f"{folder} is no backup: {error}") from error
    if manifest["format"] != FORMAT:
        raise NotDone(f"{folder} was made by another release: its format is {manifest['format']}, not {FORMAT}")
    newer = set(manifest["eventMigrations"]) - {migration.name for migration in known()}
    if newer:
        raise NotDone(f"{folder} was made by a newer release ({max(newer)}): restore it with that one")
    say("checking the files …")
    files = {str(path.relative_to(folder)): path for path in _files(folder)}
    for name, digest in manifest["files"].items():
        if name not in files or _digest(files[name]) != digest:
            raise NotDone(f"{folder / name} is {'damaged' if name in files else 'missing'}")
    has_keys = (folder / KEYS_FOLDER / "field.key").exists() and not os.environ.get("PERSONAS_FIELD_KEYS")
    if not has_keys and not set(manifest["fieldKeys"]) & set(keys.field_keys()):
        raise NotDone(
            "none of PERSONAS_FIELD_KEYS opens the settings of destinations in the backup: set it to the keys of the"
            f" installation that made it, or copy its {' and '.join(KEYS)} into {settings.PERSONAS_HOME}"
        )
    return manifest


def _holds_anything() -> bool:
    """Whether anybody has a workspace, or ClickHouse has an event."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.spaces_workspace')")
        if cursor.fetchone()[0]:
            cursor.execute("SELECT EXISTS (SELECT FROM spaces_workspace)")
            if cursor.fetchone()[0]:
                return True
    names = [table.name for table in TABLES]
    counted = "SELECT sum(total_rows) FROM system.tables WHERE database = currentDatabase() AND name IN %s"
    return bool(client.rows(sql(counted, names))[0][0])


def _copy_in(table: str, columns: Collection[str], rows: int, folder: Path, say: Say) -> None:
    progress = CopyProgress(table, rows, say)
    present = 0
    for path in sorted((folder / ROWS_FOLDER).glob(f"{table}-[0-9]*")):
        with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as native:
            client.insert_native(table, columns, native.read())
        before, present = present, int(client.rows(Sql(f"SELECT count() FROM {table}"))[0][0])
        progress.add(present - before)
    if present != rows:
        raise NotDone(f"{table} has {present:,} rows, and the backup {rows:,}")


def _postgres(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs as the owner of the tables. Raises NotDone."""
    try:
        path = str(postgres.binaries() / program)
    except StartError:  # the embedded one is not installed
        path = program
    values = connections["owner"].get_connection_params()
    environ = {LIBPQ[name]: str(value) for name, value in values.items() if name in LIBPQ and value}
    try:
        done = subprocess.run(
            [path, *arguments], env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True, check=False
        )
    except FileNotFoundError as error:
        raise NotDone(f"{program} is missing: install PostgreSQL's client programs") from error
    if done.returncode:
        raise NotDone(f"{program} failed: {done.stderr.strip()}")


@dataclass
class CopyProgress:
    """Says how far a table is, how fast, and how long it takes yet."""

    what: str
    total: int
    say: Say
    done: int = 0

    def __post_init__(self) -> None:
        self.begun = self.said_at = monotonic()

    def add(self, rows: int) -> None:
        self.done += rows
        if self.done < self.total and monotonic() < self.said_at + SAID_EVERY_S:
            return
        self.said_at = monotonic()
        rate = self.done / max(monotonic() - self.begun, 1e-6)
        left = (self.total - self.done) / max(rate, 1)
        self.say(f"{self.what}: {self.done:,} of {self.total:,} rows, {rate:,.0f}/s, about {left:.0f} s left")
