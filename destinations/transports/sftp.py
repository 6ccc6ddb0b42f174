"""SFTP, through the door out: a file is written beside its place, then moved there, so that nobody reads half of it."""

import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import asyncssh

from destinations.models import Destination
from destinations.rules.contract import DestinationRequest
from destinations.rules.send_batch import Unanswered
from destinations.transports.http import LONGEST_LOOK_UP
from spaces.answers import Answer
from spaces.outbound import CONNECT_S, OutboundError
from spaces.outbound_loop import checked_loop

CLOSED_S = 5.0
# What a server says of a file, as the statuses by which everything is read (destinations.rules.contract.outcome_of).
STATUSES = {
    asyncssh.FX_NO_SUCH_FILE: 404,
    asyncssh.FX_PERMISSION_DENIED: 403,
    asyncssh.FX_NO_SPACE_ON_FILESYSTEM: 507,
    asyncssh.FX_QUOTA_EXCEEDED: 507,
}


@contextmanager
def calls(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """One connection for all calls of the block, opened with the first of them."""
    client: asyncssh.SFTPClient | None = None
    connection: asyncssh.SSHClientConnection | None = None

    async def ask(request: DestinationRequest) -> bytes:
        nonlocal client, connection
        if connection is None or client is None:
            connection = await _connected(settings)
            client = await connection.start_sftp_client()
        path = PurePosixPath(request.url)
        if request.method == "GET":
            await client.listdir(str(path))
            return b""
        if request.method == "READ":
            async with client.open(str(path), "rb") as file:
                content: bytes = await file.read(LONGEST_LOOK_UP)
            return content
        # The name of a file may have folders in it, such as a date.
        await client.makedirs(str(path.parent), exist_ok=True)
        # A dot before it: whoever takes every file of a folder leaves such out.
        beside = path.with_name(f".{path.name}.part")
        async with client.open(str(beside), "wb") as file:
            await file.write(request.body)
        try:
            await client.posix_rename(str(beside), str(path))
        except asyncssh.SFTPOpUnsupported:  # a server without the extension moves nothing over a file that is there
            if await client.exists(str(path)):
                await client.remove(str(path))
            await client.rename(str(beside), str(path))
        return b""

    async def hang_up(connection: asyncssh.SSHClientConnection) -> None:
        # Not closed in peace: a server that is silent would hold the worker up.
        connection.abort()
        await connection.wait_closed()

    with checked_loop() as run:

        def call(request: DestinationRequest) -> Answer:
            try:
                return Answer(200, body=run(request.timeout_s, ask(request)))
            except OutboundError as error:
                raise Unanswered(str(error), permanent=error.permanent) from error
            except asyncssh.SFTPError as error:
                return Answer(STATUSES.get(error.code, 503), body=f"{request.url}: {error.reason}".encode())
            except asyncssh.PermissionDenied as error:
                return Answer(401, body=error.reason.encode())
            except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
                # Another server than the one that was meant: no try will make it the right one.
                raise Unanswered(error.reason, permanent=True) from error
            except asyncssh.KeyImportError as error:
                raise Unanswered(f"The key cannot be read: {error}", permanent=True) from error
            except (asyncssh.Error, OSError, TimeoutError) as error:
                raise Unanswered(str(error) or type(error).__name__, arrived=True) from error

        try:
            yield call
        finally:
            if connection is not None:
                run(CLOSED_S, hang_up(connection))


def _in_lines(key: str) -> str:
    """A key as it was in its file: a field of a form takes the ends of its lines away."""
    parts = re.fullmatch(r"\s*(-----BEGIN [^-]+-----)([^-]+)(-----END [^-]+-----)\s*", key)
    return "\n".join([parts[1], *textwrap.wrap("".join(parts[2].split()), 70), parts[3], ""]) if parts else key


async def _connected(settings: Any) -> asyncssh.SSHClientConnection:
    """Nothing of this machine's own: no configuration, no keys, no agent, and no host that it happens to know."""
    keys = [asyncssh.import_private_key(_in_lines(settings.private_key))] if settings.private_key else None
    return await asyncssh.connect(
        settings.host,
        settings.port,
        username=settings.user,
        password=settings.password or None,
        client_keys=keys,
        known_hosts=([asyncssh.import_public_key(settings.host_key)], [], []),
        config=None,
        agent_path=None,
        gss_host=None,
        connect_timeout=CONNECT_S,
        login_timeout=CONNECT_S * 2,
    )
