"""Files in a bucket of S3, or of anything that speaks as it does: MinIO, R2, Google Cloud Storage, Ceph."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from destinations.rules.contract import (
    Adapter,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    test_id,
)
from destinations.rules.files import (
    CONTENT_TYPES,
    TIMEOUT_S,
    FileOptions,
    body_of,
    file_capabilities,
    members_in_file,
    name_of,
    read_whole,
)
from destinations.rules.payloads import batch_id
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text


class S3Settings(SettingsDeclaration, frozen=True):
    bucket: Annotated[str, text("Bucket")]
    access_key_id: Annotated[str, text("Access key ID")]
    secret_access_key: Annotated[str, secret("Secret access key")]
    region: Annotated[str, text("Region")] = "us-east-1"
    endpoint: Annotated[
        str,
        text(
            "Endpoint",
            url=True,
            help="Empty: Amazon S3. Else the address of what speaks as it does, without the bucket",
        ),
    ] = ""
    session_token: Annotated[str, secret("Session token", help="Only with keys that end")] = ""

    def check(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise InvalidSetting("endpoint", "Must begin with https:// or http://")
        if "/" in self.bucket:
            raise InvalidSetting("bucket", "The name of the bucket alone; folders are in the names of files")


def plan(
    changes: Changes, about: PayloadComputation, settings: S3Settings, options: FileOptions, now: datetime
) -> list[DestinationRequest]:
    """One file for all."""
    name = name_of(changes, about, options)
    body, rows = body_of(changes, about, options)
    shown = f"PUT {name}: {rows} rows, {len(body)} bytes"
    return [_put(settings, name, body, CONTENT_TYPES[options.format], batch_id(changes), changes, shown)]


def _put(
    settings: S3Settings, name: str, body: bytes, content_type: str, id: str, rows: Changes, shown: str
) -> DestinationRequest:
    headers = {"content-type": content_type}
    return DestinationRequest(id, rows, "PUT", url_of(settings, name), headers, body, TIMEOUT_S, shown=shown)


def _get(settings: S3Settings, name: str) -> DestinationRequest:
    return DestinationRequest("", (), "GET", url_of(settings, name), timeout_s=TIMEOUT_S)


def url_of(settings: S3Settings, name: str) -> str:
    """Of a file. name: with the folders that it is in."""
    # The bucket is in the path where it cannot be in the host: elsewhere, and in a name with dots, for its certificate.
    if settings.endpoint:
        base = f"{settings.endpoint.rstrip('/')}/{settings.bucket}"
    elif "." in settings.bucket:
        base = f"https://s3.{settings.region}.amazonaws.com/{settings.bucket}"
    else:
        base = f"https://{settings.bucket}.s3.{settings.region}.amazonaws.com"
    return f"{base}/{quote(name)}"


def test(settings: S3Settings, now: datetime) -> DestinationRequest:
    """Writes a file of one line: the right to write is the only one that is needed."""
    # It stays there: to take it away again would need the right to delete.
    line = b"Personas can write here.\n"
    return _put(settings, "personas-test.txt", line, "text/plain", test_id(now), (), "PUT a test")


adapter = Adapter(
    kind="s3",
    label="Amazon S3 and compatible",
    description="Writes files into a bucket, as CSV, JSON lines or Parquet: who entered and left, or everybody.",
    settings=S3Settings,
    options=FileOptions,
    trait_options=FileOptions,
    capabilities=file_capabilities(
        DocumentedLimit(
            5 * 1024**3, "bytes in a file that is written at once", "2026-11", "docs.aws.amazon.com/AmazonS3"
        )
    ),
    plan=plan,
    read=read_whole,
    test=test,
    transport="s3",
    credentials=(
        "In AWS: IAM, Users, a user of its own with a policy that allows s3:PutObject on arn:aws:s3:::your-bucket/*; "
        "then Security credentials, Create access key. s3:GetObject is needed only to check what exists."
    ),
    members=members_in_file(_get),
)
