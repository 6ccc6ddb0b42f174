"""What of a client's calls arrived in the archive of a stack."""

import json
from contextlib import suppress
from typing import Any

from benchmarks.shop import until_archived
from benchmarks.stack import Stack, until
from tests.clients.libraries import Library, Run, verdicts
from tests.clients.proxy import Proxy, proxy

ARRIVES_WITHIN_S = 30
GOOD = {"once", "–"}
READ = """
import json
from sources import queries
from sources.models import Source
rows = queries.newest_messages(Source.objects.get(public_id="{source}"), before=None).rows
print(json.dumps([row["message"] for row in rows]))
"""


def a_source(running: Stack, name: str, kind: str) -> tuple[dict[str, Any], str]:
    """A source, and its write key."""
    source = running.api.post("sources", {"name": name[:60], "kind": kind})["source"]
    return source, source["writeKeys"][0]


def run_on_a_server(running: Stack, library: Library, run: Run) -> dict[str, str]:
    """What became of each call of a library that is told to come back at first."""
    source, key = a_source(running, library.name, "server")
    with proxy(running.address, refuses=int(library.retries)) as between:
        run(between.address, key)
        return what_arrived(running, library, source, between)


def what_arrived(running: Stack, library: Library, source: dict[str, Any], between: Proxy) -> dict[str, str]:
    """By call, once everything has arrived, or nothing more comes. Nothing of it was rejected or refused."""
    found: dict[str, str] = {}

    def done() -> bool:
        until_archived(running, [source])
        found.update(verdicts(library, archived(running, source), refused=between.refused))
        return set(found.values()) <= GOOD

    with suppress(TimeoutError):
        until(done, within_s=ARRIVES_WITHIN_S, every_s=0.5)
    path = f"sources/{source['id']}"
    assert running.api.get(f"{path}/refused-requests")["requests"] == []
    assert running.api.get(f"{path}/rejects")["rejects"] == []
    return found


def archived(running: Stack, source: dict[str, Any]) -> list[dict[str, Any]]:
    """The source's messages, as they are in the archive."""
    told = running.run("manage.py", "shell", "--no-imports", "-c", READ.format(source=source["id"]))
    assert told.returncode == 0, told.stderr
    return [json.loads(message) for message in json.loads(told.stdout)]
