"""A disk without room, watched for the embedded ClickHouse, whose engine takes no notice when it cannot write.

Measured with chdb-core 26.9: `write` fails for want of room, and the insert or the merge is said to have gone well; its
files are empty. (A ClickHouse server refuses.) So while there is almost no room nothing that writes is believed, no
parts are merged, and none that were merged are removed. Afterwards the engine starts anew: it sets aside what is not
whole, and takes back what that was merged from.
"""

import threading
import time
from collections.abc import Callable

MARGIN = 64 << 20  # bytes: with less, others may have filled the disk for a moment
LOOKED_EVERY = 0.25  # s


class Shortage:
    """free: how many bytes are. began, over: called when a shortage begins, and when it has ended."""

    def __init__(self, free: Callable[[], int], *, began: Callable[[], None], over: Callable[[], None]) -> None:
        self._free, self._began, self._over = free, began, over
        self._last: float | None = None
        self._lock = threading.Lock()

    def since(self, moment: float) -> bool:
        """Whether there has been one at any time since, by `time.monotonic`."""
        self._look()
        return self._last is not None and self._last >= moment

    def watch(self) -> None:
        """For ever, or until one has ended."""
        while not self._look() or self._last is None:
            time.sleep(LOOKED_EVERY)
        self._over()

    def _look(self) -> bool:
        """Whether there is room."""
        with self._lock:
            if self._free() >= MARGIN:
                return True
            if self._last is None:
                self._began()
            self._last = time.monotonic()
            return False
