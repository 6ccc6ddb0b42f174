"""`python -m benchmarks [name …]`: run the benchmarks, print a table, keep it in benchmarks/results.json."""

import json
import os
import platform
import sys
import time
import traceback
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.stack import URLS, stack

NAMES = (
    "idle",
    "live",
    "replay",
    "preview",
    "questions",
    "peers",
    "audiences",
    "first",
    "tenants",
    "pages",
    "tick",
    "splits",
    "accept",
    "overload",
    "flood",
    "profile_api",
    "deliveries",
)  # idle first: it needs a stack that has done nothing; questions before whatever adds to the events it asks about
UNLIMITED = '{"space": {"reads_per_second": 1000000}}'  # rates are counted, and none is too high
RESULTS = Path(__file__).parent / "results.json"


def main(names: list[str]) -> int:
    """The status is 1 when one of them failed; the figures of the others are kept."""
    if unknown := set(names) - set(NAMES):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.")
    figures: list[Figure] = []
    failed = 0
    with stack(PERSONAS_LIMITS=UNLIMITED) as running:
        see_as_django(running.environ)
        for name in [name for name in NAMES if name in names] or NAMES:
            begun = time.monotonic()
            print(f"{name} …", end="", flush=True)
            try:
                figures += import_module(f"benchmarks.{name}").measure(running)
            except Exception:
                failed = 1
                traceback.print_exc()
            print(f" {time.monotonic() - begun:.0f} s", flush=True)
    show(figures)
    keep(figures)
    return failed


def see_as_django(environ: dict[str, str]) -> None:
    """This process reads the stack's stores by the product's own code."""
    import django

    for name in URLS:
        os.environ.pop(name, None)
    os.environ.update(environ)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")
    django.setup()


def show(figures: list[Figure]) -> None:
    table = Table("figure", "median", "unit", "runs", "ratio", "to", "floor", "note")
    for figure in figures:
        ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
        floor = f"{figure.floor:,.1f}" if figure.floor is not None else ""
        cells = (f"{figure.value:,.1f}", figure.unit, str(figure.runs), ratio, figure.floor_name, floor, figure.note)
        table.add_row(figure.name, *cells)
    Console(width=180).print(table)


def keep(figures: list[Figure]) -> None:
    kept = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "figures": [asdict(figure) | {"ratio": figure.ratio} for figure in figures],
    }
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
