"""Files in a folder of an SFTP server."""

from datetime import datetime
from typing import Annotated

from destinations.rules.contract import (
    Adapter,
    Changes,
    DestinationRequest,
    PayloadComputation,
    test_id,
)
from destinations.rules.files import (
    TIMEOUT_S,
    FileOptions,
    body_of,
    file_capabilities,
    members_in_file,
    name_of,
    read_whole,
)
from destinations.rules.payloads import batch_id
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text


class SftpSettings(SettingsDeclaration, frozen=True):
    host: Annotated[str, text("Host", place=True)]
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
        # Without it whoever answers at this address would be given the people.
        if len(self.host_key.split()) < 2:
            raise InvalidSetting("hostKey", "The type of the key and the key, such as ssh-ed25519 AAAA…")


def plan(
    changes: Changes, about: PayloadComputation, settings: SftpSettings, options: FileOptions, now: datetime
) -> list[DestinationRequest]:
    """One file for all."""
    # The transport writes beside it and moves it there, so nobody reads half of a file.
    path = _path(settings, name_of(changes, about, options))
    body, rows = body_of(changes, about, options)
    shown = f"PUT {path}: {rows} rows, {len(body)} bytes"
    return [DestinationRequest(batch_id(changes), changes, "PUT", path, body=body, timeout_s=TIMEOUT_S, shown=shown)]


def _get(settings: SftpSettings, name: str) -> DestinationRequest:
    return DestinationRequest("", (), "READ", _path(settings, name), timeout_s=TIMEOUT_S)


def _path(settings: SftpSettings, name: str) -> str:
    return f"{settings.folder.rstrip('/')}/{name}"


def test(settings: SftpSettings, now: datetime) -> DestinationRequest:
    """Looks into the folder."""
    return DestinationRequest(test_id(now), (), "GET", settings.folder)


adapter = Adapter(
    kind="sftp",
    label="SFTP",
    description="Writes files into a folder, as CSV, JSON lines or Parquet: who entered and left, or everybody.",
    settings=SftpSettings,
    options=FileOptions,
    trait_options=FileOptions,
    capabilities=file_capabilities(),
    plan=plan,
    read=read_whole,
    test=test,
    transport="sftp",
    credentials=(
        "A user of its own, chrooted to a folder that it may write to. ssh-keyscan -t ed25519 your.host prints the "
        "host key: all after the name. ssh-keygen -t ed25519 -N '' makes a private key; its .pub belongs in "
        "authorized_keys."
    ),
    members=members_in_file(_get),
)
