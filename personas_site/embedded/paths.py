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
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
# A Unix socket's address holds 108 bytes, the last of them a zero.
SOCKET_PATH_MAX = 107
# PostgreSQL's own name for the socket is the longest of ours.
LONGEST_SOCKET_NAME = "pg/.s.PGSQL.5432.lock"
# Not tempfile.gettempdir(): TMPDIR differs between processes, and all of them must find the same sockets.
SHORT_ROOT = Path("/tmp")


def port_from(environ: Mapping[str, str], name: str, default: int) -> int:
    """The port a setting names. Raises ValueError with a sentence for the user."""
    text = environ.get(name, "").strip() or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"{name} must be a port number between 1 and 65535, not {text!r}")
    return int(text)


@dataclass(frozen=True)
class Paths:
    """Every path and URL of the embedded stores under one folder."""

    home: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", Path(os.path.realpath(self.home)))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """The paths that PERSONAS_HOME names, `var` under the project by default."""
        environ = os.environ if environ is None else environ
        return cls(Path(environ.get("PERSONAS_HOME") or PROJECT_ROOT / "var"), environ)

    # Folders and files

    @property
    def postgres_data(self) -> Path:
        return self.home / "pg"

    @property
    def clickhouse_data(self) -> Path:
        return self.home / "clickhouse"

    @property
    def valkey_data(self) -> Path:
        return self.home / "valkey"

    @property
    def logs(self) -> Path:
        return self.home / "log"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    @property
    def pids(self) -> Path:
        return self.home / "pids.json"

    @property
    def token_file(self) -> Path:
        return self.home / "clickhouse.token"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    # Sockets

    @cached_property
    def sockets(self) -> Path:
        """The folder of the sockets: under home, or a short private one when that path cannot be a socket's address.

        Odd characters count too: the path becomes part of URLs that three libraries parse, each in its own way.
        """
        inside = self.home / "run"
        fits = len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_MAX
        if fits and re.fullmatch(r"[A-Za-z0-9/._-]+", str(inside)):
            return inside
        digest = hashlib.blake2b(os.fsencode(self.home), digest_size=8).hexdigest()
        return SHORT_ROOT / f"personas-{os.getuid()}-{digest}"

    @property
    def postgres_sockets(self) -> Path:
        return self.sockets / "pg"

    @property
    def postgres_socket(self) -> Path:
        return self.postgres_sockets / ".s.PGSQL.5432"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    # Ports

    @property
    def clickhouse_port(self) -> int:
        return port_from(self.environ, "PERSONAS_CLICKHOUSE_PORT", 8124)

    @property
    def web_port(self) -> int:
        return port_from(self.environ, "PERSONAS_WEB_PORT", 8000)

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    # URLs

    @property
    def database_url(self) -> str:
        """As the role the application runs under, which owns nothing."""
        return f"postgresql://personas_app@/personas?host={self.postgres_sockets}"

    @property
    def database_owner_url(self) -> str:
        """As the role that owns the tables: for migrations only."""
        return f"postgresql://personas_owner@/personas?host={self.postgres_sockets}"

    @property
    def clickhouse_url(self) -> str:
        return f"http://personas:{self.clickhouse_token}@127.0.0.1:{self.clickhouse_port}/default"

    @property
    def redis_url(self) -> str:
        """For Celery."""
        return f"redis+socket://{self.valkey_socket}?virtual_host=0"

    @property
    def redis_cache_url(self) -> str:
        """For redis-py and Django's cache: another database than the broker's, so that it can be flushed."""
        return f"unix://{self.valkey_socket}?db=1"

    @cached_property
    def clickhouse_token(self) -> str:
        """The password of the embedded ClickHouse, made by whoever asks first."""
        try:
            return self.token_file.read_text()
        except FileNotFoundError:
            self._make_token()
            return self.token_file.read_text()

    def make_home(self) -> None:
        """Home exists. PostgreSQL's own user must be able to pass through it, never to list it."""
        self.home.mkdir(mode=0o711 if os.getuid() == 0 else 0o700, parents=True, exist_ok=True)

    def _make_token(self) -> None:
        self.make_home()
        handle, draft = tempfile.mkstemp(prefix="token-", dir=self.home)  # mkstemp gives 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24))
            # link() refuses to replace: of two processes making a token at once, the first one's stays.
            os.link(draft, self.token_file)
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
