"""`make versions`: the first command, as a stranger gives it, on each Python that we promise. Minutes each.

From a copy in a private folder with spaces and other scripts in its path, with an umask of 077. A version that is not
on this machine is at least resolved: pip finds everything in the lock for it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from personas_site.embedded.paths import PROJECT_ROOT
from tests.first_command import SPACES_AND_SCRIPTS
from tests.flows.test_quickstart import STORES, Story, free_port

VERSIONS = ("3.11", "3.12", "3.13")
LEFT_OUT = (".git", ".venv", "var", "docs", "tests", "__pycache__", ".mypy_cache", ".ruff_cache")
RESOLVED = ("--dry-run", "--ignore-installed", "--no-deps", "--require-hashes")


def interpreter(version: str) -> str | None:
    """One of that version that can make environments. What is on the PATH may only say that it is not installed."""
    code = f"import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    folders = os.environ["PATH"].split(os.pathsep)
    for candidate in [sys.executable, *(shutil.which(f"python{version}", path=folder) for folder in folders)]:
        if candidate and subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_command(tmp_path: Path, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    python = interpreter(version)
    with capsys.disabled():
        print(f"\nPython {version}: {python or 'not here, resolved only'}")
    if python is None:
        resolve(version, tmp_path)
    else:
        quickstart(python, tmp_path)


def resolve(version: str, folder: Path) -> None:
    """Everything in the lock can be installed on that version."""
    target = ["--python-version", version, "--target", str(folder / "nowhere")]
    lock = ["-r", str(PROJECT_ROOT / "requirements.lock")]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *RESOLVED, *target, *lock],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def quickstart(python: str, folder: Path) -> None:
    project = folder / SPACES_AND_SCRIPTS / "personas"
    shutil.copytree(PROJECT_ROOT, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (folder / "events.jsonl").write_text("\n".join(Story().lines))
    folder.chmod(0o700)
    asked = {
        "PYTHON": python,
        "ONCE": "1",
        "EVENTS": str(folder / "events.jsonl"),
        "PERSONAS_HOME": "../wo anders/дом",
        "PERSONAS_WEB_PORT": free_port(),
        "PERSONAS_CLICKHOUSE_PORT": free_port(),
    }
    inherited = {name: value for name, value in os.environ.items() if name not in (*STORES, "MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "quickstart", *(f"{name}={value}" for name, value in asked.items())],
        cwd=project,
        env=inherited,
        umask=0o077,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "every figure agrees" in done.stdout
