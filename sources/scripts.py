"""The vendors' scripts for web pages, from npm packages that `make assets` installs. Nothing else needs them."""

from pathlib import Path

from django.conf import settings

ANALYTICS_JS = Path("@segment/analytics-next/dist/umd/standalone.js")
JITSU = Path("@jitsu/js/dist/web/p.js.txt")


def bundle(name: str) -> Path:
    """A part that analytics.js loads when it needs it."""
    return ANALYTICS_JS.parent / name


def is_installed(script: Path) -> bool:
    return (settings.CLIENT_SCRIPTS / script).is_file()


def text_of(script: Path) -> str:
    """Raises FileNotFoundError."""
    # The name of a bundle is part of an address: only what is a script is read, whatever it leads to.
    if script.suffix not in (".js", ".txt"):
        raise FileNotFoundError(script)
    return (settings.CLIENT_SCRIPTS / script).read_text("utf-8")
