"""Parquet files in a bucket of S3, or of anything that speaks as it does.

A batch is a file for each table, and then one in `_commits` that says so: rows of a batch that is not there count for
nothing. It also says of whom older rows count no more. Files are never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import pyarrow
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pyarrow import parquet

from audiences.rules.warehouse import WarehouseError
from destinations.adapters.s3 import S3Settings, url_of
from destinations.rules.files import CONTENT_TYPES
from destinations.transports.s3 import ERROR
from profiles_sync.rules.tables import INTEGER, LOADED, MOMENT, TEXT, SyncTable
from profiles_sync.rules.warehouse import SyncKind, TableBatch
from spaces.faults import reach
from spaces.outbound import Caller
from spaces.settings_schema import InvalidSetting, text

LONGEST_S = 120.0
TYPES = {TEXT: pyarrow.string(), INTEGER: pyarrow.int64(), MOMENT: pyarrow.timestamp("ms", tz="UTC")}
BATCH, COMMITS = "_batch", "_commits"
COMMIT = pyarrow.schema([(BATCH, pyarrow.int64()), ("table", pyarrow.string()), ("segment_id", pyarrow.string())])


class S3SyncSettings(S3Settings, frozen=True):
    prefix: Annotated[str, text("Folder", help="In the bucket, such as crm/personas. Empty: the bucket itself")] = ""

    def check(self) -> None:
        super().check()
        if self.prefix.startswith("/") or self.prefix.endswith("/") or ".." in self.prefix.split("/"):
            raise InvalidSetting("prefix", "Without a slash at its beginning or end")


class S3Writer:
    def __init__(self, settings: S3SyncSettings, caller: Caller) -> None:
        self._settings, self._caller = settings, caller
        keys = Credentials(settings.access_key_id, settings.secret_access_key, settings.session_token or None)
        self._signer = S3SigV4Auth(keys, "s3", settings.region)

    def test(self) -> None:
        # It stays there: to take it away again would need the right to delete.
        self._put("personas-test.txt", b"Personas can write here.\n", "text/plain")

    def prepare(self, table: SyncTable, columns: Sequence[str]) -> None:
        """Files say themselves which columns they have."""

    def write(self, batch: TableBatch, columns: Mapping[SyncTable, Sequence[str]]) -> None:
        internal = {BATCH: batch.number, LOADED: batch.at}
        for table, rows in batch.rows.items():
            types = [(name, TYPES[type]) for name, type in table.with_columns(columns.get(table, ())).items()]
            # A schema of its own rather than one that is guessed: a column that is empty would have no type.
            schema = pyarrow.schema([*types, (BATCH, pyarrow.int64())])
            listed = [{name: (row | internal).get(name) for name in schema.names} for row in map(dict, rows)]
            self._put_parquet(table.name, batch.number, pyarrow.Table.from_pylist(listed, schema=schema))
        reach("profiles_sync:writing")
        commits: list[dict[str, Any]] = [{BATCH: batch.number, "table": None, "segment_id": None}]
        for table, owners in batch.forgotten.items():
            commits += [{BATCH: batch.number, "table": table.name, "segment_id": owner} for owner in owners]
        # Last of all: with it the batch counts.
        self._put_parquet(COMMITS, batch.number, pyarrow.Table.from_pylist(commits, schema=COMMIT))

    def _put_parquet(self, folder: str, number: int, rows: pyarrow.Table) -> None:
        file = pyarrow.BufferOutputStream()
        parquet.write_table(rows, file, compression="zstd")
        # By the number, with zeros, so that files sort in the order of their batches.
        self._put(f"{folder}/{number:015}.parquet", file.getvalue().to_pybytes(), CONTENT_TYPES["parquet"])

    def _put(self, name: str, body: bytes, content_type: str) -> None:
        path = "/".join(filter(None, [self._settings.prefix, name]))
        url = url_of(self._settings, path)
        signed = AWSRequest("PUT", url, headers={"content-type": content_type}, data=body)
        self._signer.add_auth(signed)
        headers = dict(signed.headers.items())
        answer = self._caller.send("PUT", url, headers=headers, body=body, timeout_s=LONGEST_S)
        if not answer.ok:
            error = ERROR.search(answer.body)
            raise WarehouseError(b": ".join(error.groups()).decode() if error else f"Answered {answer.status}")


@contextmanager
def open_store(settings: S3SyncSettings) -> Iterator[S3Writer]:
    with Caller() as caller:
        yield S3Writer(settings, caller)


store = SyncKind(
    label="Parquet on Amazon S3 and compatible",
    description="Files that are added to, for Athena, DuckDB, Spark, or to be loaded into anything else.",
    settings=S3SyncSettings,
    open=open_store,
    people=20_000,
    events=50_000,
    credentials=(
        "In AWS: IAM, Users, a user of its own with a policy that allows s3:PutObject on arn:aws:s3:::your-bucket/*; "
        "then Security credentials, Create access key."
    ),
    keeps=(
        "Files are never changed: what they say of somebody who is erased counts no more, but stays in them until you "
        "delete the files and sync everything anew."
    ),
)
