"""`make up`: the whole of Personas in the foreground, until Ctrl-C.

python -m personas_site.up [--stores-only]
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress

from personas_site.embedded.accounts import StartError
from personas_site.embedded.paths import Paths
from personas_site.embedded.supervisor import Supervisor, stopped_by_signals


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run Personas in the foreground.")
    parser.add_argument("--stores-only", action="store_true", help="only PostgreSQL, ClickHouse and Valkey")
    options = parser.parse_args(arguments)
    paths = Paths.from_environ()
    supervisor = Supervisor(paths.home, stores_only=options.stores_only, say=say)
    begun = time.monotonic()
    with stopped_by_signals(supervisor):
        try:
            supervisor.start()
        except (StartError, OSError) as error:
            print(f"personas: {error}", file=sys.stderr)
            return 1
        what = f"stores in {paths.home}" if options.stores_only else paths.web_url
        say(f"ready in {time.monotonic() - begun:.1f} s: {what}  (Ctrl-C stops it)")
        if not options.stores_only and (first := paths.first_link):
            say(f"nobody has an account yet. Make the first one at {paths.web_url}{first}")
        while not supervisor.wait(1.0):  # not for ever: a signal that comes just before a wait would not end it
            pass
        supervisor.stop()
    if supervisor.failure:
        print(f"personas: {supervisor.failure}", file=sys.stderr)
        return 1
    say("stopped")
    return 0


def say(text: str) -> None:
    with suppress(OSError):  # whoever read our output may have left; the site goes on
        print(f"personas: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
