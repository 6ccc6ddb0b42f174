"""Lanes of the web process: a few threads for each kind of work, and a short line in front of them.

A thread keeps one connection to PostgreSQL for as long as it lives, and lives as long as the process: so the threads
below, times the processes, are all the connections that the web can ever have (personas_site.budget).
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from personas_site.sharing import Shares
from spaces import processor
from spaces.lanes import CALLS, COLLECT, CONSOLE, PASSWORDS, PROFILES, QUERIES

Result = TypeVar("Result")

# Threads of one process. More of them would only wait for the interpreter, and those of COLLECT, while a flood comes,
# keep so many more of PostgreSQL's processes from everybody else.
THREADS = {COLLECT: 3, CONSOLE: 4, PROFILES: 3, QUERIES: 3, CALLS: 2, PASSWORDS: 1}
AHEAD = 2  # calls that are handed over before a thread is free, so that none waits for the event loop
PATIENCE_S = 1.0  # in line. Who would wait longer is told to come back
SMOOTHED = 0.1  # how much the last of a lane counts for its pace


class Busy(Exception):
    """There is no thread for this in time."""


class Lane:
    """To be used from one event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = asyncio.Semaphore(threads + AHEAD)
        self._line = 0
        self._line_since = self._left = 0.0  # when the line began, and when the last call ended
        self._pace = 0.0  # seconds from one end to the next, while there is a line
        self._shares = Shares()

    async def run(self, call: Callable[[], Result], workspace: Hashable = None) -> Result:
        """What `call` returns or raises, from one of the lane's threads. Raises Busy, and then it was not called.

        workspace: who makes way for others (personas_site.sharing); None = nobody knows.
        """
        loop = asyncio.get_running_loop()
        if workspace is not None:
            wait = self._shares.wait(workspace, loop.time(), PATIENCE_S, short=processor.short())
            if wait is None:
                raise Busy
            if wait:
                await asyncio.sleep(wait)
        if self._free.locked():
            await self._wait_in_line()
        else:
            await self._free.acquire()  # at once
        outcome: asyncio.Future[Result] = loop.create_future()

        def finish(result: Result | None, error: BaseException | None, took: float) -> None:
            self._note_pace(loop.time())
            self._shares.took(workspace, took)
            self._free.release()  # not before: whoever asked may be gone, but the thread was busy until now
            if outcome.done():
                return
            if error:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, error, begun = None, None, loop.time()
            try:
                result = call()
            except BaseException as raised:
                error = raised
            loop.call_soon_threadsafe(finish, result, error, loop.time() - begun)

        self._pool.submit(work)
        return await outcome

    async def _wait_in_line(self) -> None:
        """A thread is ours. Raises Busy."""
        loop = asyncio.get_running_loop()
        if self._line * self._pace > PATIENCE_S:  # it would be told so later
            raise Busy
        if not self._line:
            self._line_since = loop.time()
        self._line += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._free.acquire()
        except TimeoutError:
            raise Busy from None
        finally:
            self._line -= 1

    def _note_pace(self, now: float) -> None:
        if self._line:
            self._pace += SMOOTHED * (now - max(self._left, self._line_since) - self._pace)
        self._left = now
