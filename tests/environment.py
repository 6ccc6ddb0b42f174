"""A pytest plugin, loaded before the settings are: every run has a folder, stores and ports of its own."""

import atexit
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

# Some environments ask for it; compiling all of this anew costs every worker seven seconds of CPU.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "CLICKHOUSE_URL", "REDIS_URL"):
    os.environ.pop(name, None)  # never run tests against somebody's servers by accident
MEMORY = Path("/dev/shm")  # where a test may wait for no disk


def _folder() -> str:
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30
    return tempfile.mkdtemp(prefix="personas-tests-", dir=MEMORY if roomy else None)


HOME = _folder()
os.environ["PERSONAS_HOME"] = HOME
os.environ["PERSONAS_CLICKHOUSE_PORT"] = _free_port()
os.environ["PERSONAS_WEB_PORT"] = _free_port()
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
