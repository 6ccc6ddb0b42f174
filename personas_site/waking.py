"""Wake-ups sent beside the requests that ask for them, so that none of these waits for Redis, however slow it is."""

import threading
import time
from collections.abc import Callable

PAUSE_S = 0.01  # between two of them: what is asked for meanwhile is sent as one


class Waker:
    """`ask()` has `wake` called soon, after it was asked for: whoever wakes up sees what was committed before."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._asked = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """To be called from any thread. What was asked for when the process ends may be lost."""
        self._asked.set()
        if self._thread is None or not self._thread.is_alive():  # not before: a process may fork
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()  # before the wake-up: who asks during it may have committed too late for it
            self._wake()
            time.sleep(PAUSE_S)
