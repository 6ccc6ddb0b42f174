"""The web process, in every way to start: `python -m personas_site.serve [--host 0.0.0.0] [--port 8000]`.

The one place that knows granian's options. What bounds the load is not here but in personas_site.front.
"""

import argparse
import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from personas_site import budget, keys

# Connections of one process; beyond them the kernel lets new ones wait. Those that say nothing only cost memory.
CONNECTIONS = 4096
FILES_BESIDE = 256  # descriptors that are not connections of clients
HEADERS_WITHIN_MS = 20_000  # also how long a kept connection may say nothing
HEADERS_MAX = 64 * 1024  # bytes, and of a body's parts

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--host", default="127.0.0.1")
PARSER.add_argument("--port", type=int, default=8000)


def command(host: str, port: int, processes: int) -> list[str]:
    """What runs the web, as an argv."""
    options = {
        "--interface": "asginl",
        "--http": "1",
        "--host": host,
        "--port": str(port),
        "--workers": str(processes),
        "--backlog": "1024",
        "--backpressure": str(min(CONNECTIONS, os.sysconf("SC_OPEN_MAX") - FILES_BESIDE)),
        "--http1-header-read-timeout": str(HEADERS_WITHIN_MS),
        "--http1-buffer-size": str(HEADERS_MAX),
        "--workers-kill-timeout": "3",
        "--log-level": "warning",
    }
    named = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "granian", "--no-ws", *named, "personas_site.asgi:application"]


def main() -> None:
    given = PARSER.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")
    try:
        budget.check_at_start()
    except (budget.TooFew, keys.OtherKeys, ImproperlyConfigured) as error:
        sys.exit(f"personas: {error}")
    argv = command(given.host, given.port, settings.WEB_PROCESSES)
    os.execv(argv[0], argv)  # in our place: whoever watches this process watches the server


if __name__ == "__main__":
    main()
