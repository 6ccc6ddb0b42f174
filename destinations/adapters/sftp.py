"""Files in a folder of an SFTP server."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from destinations.rules.contract import (
    Adapter,
    CallOutcome,
    Capabilities,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
)
from destinations.rules.files import FIELD_NAMES, FileOptions, body_of, name_of, read_whole
from destinations.rules.payloads import EVERY_TYPE, batch_id
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text

TIMEOUT_S = 60.0


class SftpSettings(SettingsDeclaration, frozen=True):
    host: Annotated[str, text("Host")]
    user: Annotated[str, text("User")]
    host_key: Annotated[
        str,
        text(
            "Host key", help="The server's public key, by which it is known: ssh-ed25519 AAAA…, as ssh-keyscan tells it"
        ),
    ]
    port: Annotated[int, label("Port", ge=1, le=65535)] = 22
    password: Annotated[str, secret("Password", help="Or a private key")] = ""
    private_key: Annotated[str, secret("Private key", help="In OpenSSH's format, without a passphrase")] = ""
    folder: Annotated[str, text("Folder", help="Where files are written; folders below it are created")] = "."

    def check(self) -> None:
        if not (self.password or self.private_key):
            raise InvalidSetting("password", "Give a password or a private key")
        if len(self.host_key.split()) < 2:
            raise InvalidSetting("hostKey", "The type of the key and the key, such as ssh-ed25519 AAAA…")


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: SftpSettings,
    options: FileOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One file for all."""
    path = f"{settings.folder.rstrip('/')}/{name_of(changes, about, options)}"
    body, rows = body_of(changes, about, options)
    shown = f"PUT {path}: {rows} rows, {len(body)} bytes"
    return [DestinationRequest(batch_id(changes), changes, "PUT", path, body=body, timeout_s=TIMEOUT_S, shown=shown)]


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    return read_whole(answer, len(request.rows))


def test(settings: SftpSettings, now: datetime) -> DestinationRequest:
    """Looks into the folder."""
    return DestinationRequest(f"test-{int(now.timestamp() * 1000)}", (), "GET", settings.folder)


adapter = Adapter(
    kind="sftp",
    label="SFTP",
    description="Writes files into a folder, as CSV, JSON lines or Parquet: who entered and left, or everybody.",
    settings=SftpSettings,
    options=FileOptions,
    trait_options=FileOptions,
    capabilities=Capabilities(
        styles=("event",), batch=20_000, people=20_000, full=True, identifiers=EVERY_TYPE, fields=FIELD_NAMES
    ),
    plan=plan,
    read=read,
    test=test,
    transport="sftp",
    credentials=(
        "A user of its own, chrooted to a folder that it may write to. ssh-keyscan -t ed25519 your.host prints the "
        "host key: all after the name. ssh-keygen -t ed25519 -N '' makes a private key; its .pub belongs in "
        "authorized_keys."
    ),
)
