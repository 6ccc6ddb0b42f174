"""Where the embedded stores live: every path, port and URL, computed from PERSONAS_HOME alone.

Each process (web, worker, a shell) computes the same answers on its own, so nothing is passed between them.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
# A Unix socket's address holds 108 bytes, the last of them a zero.
SOCKET_PATH_MAX = 107
# PostgreSQL's own name for the socket is the longest of ours.
LONGEST_SOCKET_NAME = "pg/.s.PGSQL.5432.lock"
# Not tempfile.gettempdir(): TMPDIR differs between processes, and all of them must find the same sockets.
SHORT_ROOT = Path("/tmp")
FIRST_LINK = "first-owner.link"  # written by `manage.py prepare` while nobody has an account


class Paths:
    """Every path and URL of the embedded stores under one folder."""

    def __init__(self, home: Path, environ: Mapping[str, str] | None = None) -> None:
        self.home = home = Path(os.path.realpath(home))
        self.environ = os.environ if environ is None else environ
        self.postgres_data = home / "pg"
        self.clickhouse_data = home / "clickhouse"
        self.valkey_data = home / "valkey"
        self.logs = home / "log"
        self.lock = home / "lock"
        self.pids = home / "pids.json"
        self.token_file = home / "clickhouse.token"
        # Under home, or in a short private folder when that cannot be a socket's address. Odd characters count too: the
        # path becomes part of URLs that three libraries parse, each in its own way.
        self.sockets = home / "run"
        fits = len(os.fsencode(self.sockets / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_MAX
        if not fits or not re.fullmatch(r"[A-Za-z0-9/._-]+", str(self.sockets)):
            digest = hashlib.blake2b(os.fsencode(home), digest_size=8).hexdigest()
            self.sockets = SHORT_ROOT / f"personas-{os.getuid()}-{digest}"
        self.postgres_sockets = self.sockets / "pg"
        self.postgres_socket = self.postgres_sockets / ".s.PGSQL.5432"
        self.valkey_socket = self.sockets / "valkey.sock"
        # The application's role owns nothing; the owner's is for migrations.
        self.database_url = f"postgresql://personas_app@/personas?host={self.postgres_sockets}"
        self.database_owner_url = f"postgresql://personas_owner@/personas?host={self.postgres_sockets}"
        # For Celery; and for Django's cache, in another database than the broker's, so that it can be flushed.
        self.redis_url = f"redis+socket://{self.valkey_socket}?virtual_host=0"
        self.redis_cache_url = f"unix://{self.valkey_socket}?db=1"

    @property
    def first_link(self) -> str:
        """The path of the page that makes the first account; "" once there is one."""
        try:
            return (self.home / FIRST_LINK).read_text()
        except FileNotFoundError:
            return ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """Those that PERSONAS_HOME names, `var` under the project by default."""
        environ = os.environ if environ is None else environ
        return cls(Path(environ.get("PERSONAS_HOME") or PROJECT_ROOT / "var"), environ)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @property
    def clickhouse_port(self) -> int:
        return self._port("PERSONAS_CLICKHOUSE_PORT", 8124)

    @property
    def web_port(self) -> int:
        return self._port("PERSONAS_WEB_PORT", 8000)

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def clickhouse_url(self) -> str:
        return f"http://personas:{self.clickhouse_token}@127.0.0.1:{self.clickhouse_port}/default"

    @cached_property
    def clickhouse_token(self) -> str:
        """The password of the embedded ClickHouse, made by whoever asks first."""
        with suppress(FileNotFoundError):
            return self.token_file.read_text()
        self.make_home()
        handle, draft = tempfile.mkstemp(prefix="token-", dir=self.home)  # mkstemp gives 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24))
            # link() refuses to replace: of two processes making a token at once, the first one's stays.
            with suppress(FileExistsError):
                os.link(draft, self.token_file)
        finally:
            os.unlink(draft)
        return self.token_file.read_text()

    def make_home(self) -> None:
        """Home exists. PostgreSQL's own user must be able to pass through it, never to list it."""
        self.home.mkdir(mode=0o711 if os.getuid() == 0 else 0o700, parents=True, exist_ok=True)

    def _port(self, setting: str, default: int) -> int:
        """Raises ValueError with a sentence for the user."""
        text = self.environ.get(setting, "").strip() or str(default)
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise ValueError(f"{setting} must be a port number between 1 and 65535, not {text!r}")
        return int(text)
