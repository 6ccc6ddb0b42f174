"""Named points at which a test may end a process or plant a bug, to show that nothing is lost between two steps."""

import os
import signal
from pathlib import Path


def reach(point: str) -> None:
    """Nothing, unless the file named by PERSONAS_FAULTS lists `point`: then die here by SIGKILL, once.

    A `point=bug` in it is a TypeError here, for as long as it is listed.
    """
    path = os.environ.get("PERSONAS_FAULTS")
    if not path:
        return
    if f"{point}=bug" in _listed(Path(path)):
        raise TypeError(f"a bug at {point}")
    if _take(Path(path), point):
        os.kill(os.getpid(), signal.SIGKILL)


def _listed(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


def _take(path: Path, point: str) -> bool:
    """Whether `point` was listed; it no longer is."""
    points = _listed(path)
    if point not in points:
        return False
    points.remove(point)
    path.write_text("\n".join(points))
    return True
