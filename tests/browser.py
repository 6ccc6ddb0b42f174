"""A real Chromium for the tests: an installed one, else one from the system's packages; never one from elsewhere."""

import os
import shutil
import subprocess
from functools import cache

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = ("/usr/bin/chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGS = [
    "--no-sandbox",  # or it does not start as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A document of a test does not live long enough for its scripts to be worth optimising: a seventh of all its CPU.
    "--js-flags=--no-turbofan,--no-maglev,--min-semi-space-size=32",
    # A request to any other host fails, so that a page which loads something from outside breaks its test.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
APT = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
PACKAGES = ("chromium-headless-shell", "chromium")  # the first costs a quarter less, and older systems have it not


@cache
def chromium() -> str:
    """Where it is. Installs it when this is Debian and we may."""
    found = _find()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        any(subprocess.run([*APT, package], check=False, **quiet).returncode == 0 for package in PACKAGES)
        found = _find()
    if found is None:
        raise RuntimeError("The browser tests need Chromium or Chrome. Install it (Debian: apt install chromium).")
    return found


def _find() -> str | None:
    installed = (shutil.which(name) for name in NAMES)
    return next((path for path in (*installed, *PLACES) if path and os.access(path, os.X_OK)), None)
