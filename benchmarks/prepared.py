"""Stores as they are after a first start, copied: to make them anew takes nine seconds of CPU each time."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from personas_site.embedded.paths import PROJECT_ROOT
from personas_site.embedded.supervisor import Supervisor

CACHE = PROJECT_ROOT / ".pytest_cache" / "prepared"
# What the stores, and what is in them, follow from.
MADE_FROM = (
    *("*/migrations/*.py", "sources/events/**/*.py", "personas_site/embedded/*.py", "personas_site/settings.py"),
    *("personas_site/management/commands/*.py", "requirements.lock", "static/*"),
)
PARTS = ("pg", "clickhouse", "static")  # not the keys: none of what is in the stores depends on them


def prepare(home: Path, environ: dict[str, str]) -> None:
    """The stores are below `home`, which has none yet, as the first start would leave them."""
    template = _template(environ)
    for part in PARTS:
        _copy(template / part, home)


def _template(environ: dict[str, str]) -> Path:
    digest = hashlib.blake2b(sys.version.encode(), digest_size=8)
    for path in sorted(path for pattern in MADE_FROM for path in PROJECT_ROOT.glob(pattern)):
        digest.update(path.read_bytes() if path.is_file() else b"")
    template = CACHE / digest.hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            for old in CACHE.glob("*/"):
                shutil.rmtree(old)
            _make(template, environ)
    return template


def _make(template: Path, environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="personas-prepared-", ignore_cleanup_errors=True) as folder:
        home, draft = Path(folder), CACHE / "draft"
        home.chmod(0o711)  # PostgreSQL's own user passes through it
        environ = environ | {"PERSONAS_HOME": folder}
        with Supervisor(home, stores_only=True, environ=environ):
            command = [sys.executable, "manage.py", "prepare", "--static"]
            subprocess.run(command, cwd=PROJECT_ROOT, env=environ, check=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for part in PARTS:
            _copy(home / part, draft)
        draft.rename(template)


def _copy(source: Path, folder: Path) -> None:
    subprocess.run(["cp", "--archive", "--reflink=auto", str(source), str(folder)], check=True)
