"""The door out for libraries that speak asyncio, such as those of SFTP and Kafka: they open connections by its loop.

Whatever address a library comes by, its own settings or what a server told it (the brokers of a Kafka cluster), its
name is resolved and checked here, and the connection goes to the address that was checked.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from spaces.outbound import OutboundError, checked_address

Result = TypeVar("Result")


@contextmanager
def checked_loop() -> Iterator[Callable[[float, Coroutine[Any, Any, Any]], Any]]:
    """run(timeout_s, work) -> what `work` comes to, as `CheckedLoop.within`; one loop for the whole block.

    In a thread of its own: a loop may be running in the caller's, and one thread runs one loop at a time.
    """
    runner = asyncio.Runner(loop_factory=CheckedLoop)
    with ThreadPoolExecutor(max_workers=1) as thread:
        loop: Any = thread.submit(runner.get_loop).result()
        try:
            yield lambda timeout_s, work: thread.submit(runner.run, loop.within(timeout_s, work)).result()
        finally:
            thread.submit(runner.close).result()


class CheckedLoop(asyncio.SelectorEventLoop):
    """Connects only to addresses that the door lets pass."""

    def __init__(self) -> None:
        super().__init__()
        self._checked: set[str] = set()
        self._refused: asyncio.Future[OutboundError] = self.create_future()

    async def within(self, timeout_s: float, work: Coroutine[Any, Any, Result]) -> Result:
        """What `work` comes to. Raises OutboundError as soon as an address is refused, and TimeoutError."""
        self._refused = self.create_future()
        task = self.create_task(work)
        # A library that is refused one address tries again, or another one, for as long as it has time.
        either: set[asyncio.Future[Any]] = {task, self._refused}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if self._refused.done() and (task.cancelled() or task.exception()):
            raise self._refused.result()
        if task.cancelled():
            raise TimeoutError(f"It did not answer within {timeout_s:g} s")
        return task.result()

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **more: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        if more.get("sock") is not None:
            raise self._refusal("A connection must be opened through the door")
        # In a thread: a look-up may take long, and a slow one must not hold up the deadline of the call.
        try:
            address = await self.run_in_executor(None, checked_address, host, port)
        except OutboundError as error:
            if error.permanent:  # a name that nobody knows may be one of several
                self._refuse(error)
            raise ConnectionRefusedError(str(error)) from error  # what libraries expect of a connection
        self._checked.add(address)
        if more.get("ssl"):
            more["server_hostname"] = more.get("server_hostname") or host  # the certificate is the name's
        return await super().create_connection(protocol_factory, address, port, **more)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """The last step of every connection, however it was asked for."""
        if not isinstance(address, tuple) or address[0] not in self._checked:
            raise self._refusal("The address was not checked")
        return await super().sock_connect(sock, address)

    async def create_unix_connection(self, *arguments: Any, **more: Any) -> Any:
        raise self._refusal("The address is not a network address")

    async def create_datagram_endpoint(self, *arguments: Any, **more: Any) -> Any:
        raise self._refusal("Only connections are opened")

    async def subprocess_exec(self, *arguments: Any, **more: Any) -> Any:
        raise self._refusal("No program is started for a connection")

    subprocess_shell = subprocess_exec

    def _refusal(self, reason: str) -> ConnectionRefusedError:
        self._refuse(OutboundError(reason, permanent=True))
        return ConnectionRefusedError(reason)

    def _refuse(self, error: OutboundError) -> None:
        if not self._refused.done():
            self._refused.set_result(error)
