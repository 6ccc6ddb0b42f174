"""Whether there is less processor than there is work: only then does one workspace have to make way for others."""

import re
import time
from functools import lru_cache
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")  # Linux says there how long whoever could run had to wait
SHORT = 20.0  # per cent of the last ten seconds in which somebody waited for a processor


def short() -> bool:
    """As it was within the last second. False where the system does not say."""
    return _short(int(time.monotonic()))


@lru_cache(maxsize=1)
def _short(second: int) -> bool:
    try:
        waited = re.search(r"some avg10=([\d.]+)", PRESSURE.read_text())
    except OSError:  # no Linux, or one that was started without it
        return False
    return waited is not None and float(waited[1]) >= SHORT
