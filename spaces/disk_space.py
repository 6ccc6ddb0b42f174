"""Whether the disk that our own stores are on has room.

A database whose disk is full stops in the middle of what it does. So the product stops first and says so: when less
than the reserve is free nothing new is taken in, and what came before is finished; below half of it no stage writes.
It goes on by itself once there is room. Stores elsewhere are out of sight: there, the store's own error is the answer.
"""

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings

LEAST_FILES = 2_000  # a file system may run out of these as well


@dataclass(frozen=True)
class Room:
    """free, reserve: bytes; a reserve of 0 asks nothing. files: how many more there may be."""

    free: int
    files: int
    reserve: int

    @property
    def accepts(self) -> bool:
        """Whether new events are taken in."""
        return self.reserve == 0 or (self.free >= self.reserve and self.files >= LEAST_FILES)

    @property
    def works(self) -> bool:
        """Whether stages go on."""
        return self.reserve == 0 or (self.free >= self.reserve // 2 and self.files >= LEAST_FILES // 2)

    def __str__(self) -> str:
        lacks = (
            f"{self.free >> 20} MB are free" if self.free < self.reserve else f"only {self.files} files may be added"
        )
        return f"The disk is almost full ({lacks}, {self.reserve >> 20} MB are kept in reserve)"


def room() -> Room:
    """As it was within the last second."""
    return _room(settings.DISK, settings.DISK_RESERVE, int(time.monotonic()))


@lru_cache(maxsize=1)
def _room(disk: Path | None, reserve: int, second: int) -> Room:
    if disk is None or reserve == 0:
        return Room(free=0, files=0, reserve=0)
    status = os.statvfs(disk)
    files = status.f_favail if status.f_files else LEAST_FILES  # some file systems have no such limit
    return Room(status.f_bavail * status.f_frsize, files, reserve)
