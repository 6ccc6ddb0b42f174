"""Bodies of requests, read on the event loop: within deadlines, and never more at one time than there is room for."""

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import IO, Any

Receive = Callable[[], Awaitable[dict[str, Any]]]  # of ASGI

LARGEST = 6 * 1024 * 1024  # bytes of a body, for every address: DATA_UPLOAD_MAX_MEMORY_SIZE
LARGEST_READ = 10 * LARGEST  # of what is read only to be refused: a client that is cut off hears no answer
WITHIN_S = 60.0
GRACE_S = 10.0  # a body may take so long …
SLOWEST = 8 * 1024  # … and a second more for each so many bytes that have come
ENDS = 4 * 1024  # bytes kept of either end of a body that is too large: the write key may be there
ROOM = 96 * 1024 * 1024  # bytes of all bodies together


class TooSlow(Exception):
    """The body did not come in time."""


class NoRoom(Exception):
    """There are too many bodies here already. It was read to its end, so that the client hears of it."""


class Gone(Exception):
    """The client has left."""


class BodyRoom:
    """The bytes of all bodies that are here."""

    def __init__(self, size: int = ROOM) -> None:
        self.free = size


class Body:
    """The body of one request. length: the bytes that came; those of a body over LARGEST are counted and not kept."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._parts: list[bytes] = []
        self._kept = 0
        self.length = 0

    async def read(self, receive: Receive) -> None:
        """All of it has come. Raises TooSlow, NoRoom or Gone."""
        begun = asyncio.get_running_loop().time()
        crowded = False
        try:
            async with asyncio.timeout(GRACE_S) as deadline:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Gone
                    part = message.get("body", b"")
                    self.length += len(part)
                    crowded = crowded or not self._keep(part)
                    if not message.get("more_body") or self.length > LARGEST_READ:
                        break
                    deadline.reschedule(begun + min(WITHIN_S, GRACE_S + self.length / SLOWEST))
        except TimeoutError:
            raise TooSlow from None
        if crowded:
            raise NoRoom

    def file(self) -> IO[bytes]:
        """To be read. Of a body that is too large its ends: each address refuses it by its length, in its own shape."""
        return BytesIO(b"".join(self._parts))

    def drop(self) -> None:
        """Its room is free again."""
        self._room.free += self._kept
        self._kept = 0
        self._parts.clear()

    def _keep(self, part: bytes) -> bool:
        """Whether there was room for it. What was kept is dropped when the body is refused anyway."""
        if self.length > LARGEST:
            ends = [*self._parts, part]
            self.drop()
            self._parts = [ends[0][:ENDS], b"".join(ends[-2:])[-ENDS:]]
            return True
        if len(part) > self._room.free:
            self.drop()
            return False
        self._room.free -= len(part)
        self._kept += len(part)
        self._parts.append(part)
        return True
