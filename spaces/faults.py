"""Named points at which a test may end a process or plant a bug, to show that nothing is lost between two steps."""

import os
import signal
from pathlib import Path


def reach(point: str) -> None:
    """Nothing, unless the file named by PERSONAS_FAULTS lists `point`: then die here by SIGKILL, once.

    A `point=bug` in it is a TypeError here, for as long as it is listed.
    """
    path = os.environ.get("PERSONAS_FAULTS")
    if not path:  # everywhere but in tests
        return
    try:
        points = Path(path).read_text().split()
    except FileNotFoundError:
        return
    if f"{point}=bug" in points:
        raise TypeError(f"a bug at {point}")
    if point in points:
        points.remove(point)  # before the end: whoever takes over comes here too, and must get past it
        Path(path).write_text("\n".join(points))
        # Not an exception, which somebody may catch: nothing is released, flushed or rolled back.
        os.kill(os.getpid(), signal.SIGKILL)
