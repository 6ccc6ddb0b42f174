"""One release after the other with a bug in a step of a stage, then the right one: every event once, everywhere.

For longer runs: `BUG_S=60 make test TESTS=tests/flows/test_bugs.py`.
"""

import os
import time
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest

from benchmarks.stack import Stack, stack, until
from tests.event_generator import SOURCES
from tests.flows.test_kills import BACK_WITHIN_S, World, published, verified

BUG_S = float(os.environ.get("BUG_S", "1"))
STAGES = ("sync", "evaluate", "resolve", "archive")  # the last one first: what is before it still brings it work
RELEASES = {  # what is wrong in each of them
    "prepare": {stage: f"{stage}:preparing" for stage in STAGES},
    "write": {  # half-way through
        "sync": "sync:written",
        "evaluate": "insert:membership_log",
        "resolve": "insert:traits",
        "archive": "insert:archive",
    },
    "commit": {stage: f"{stage}:committing" for stage in STAGES},
}


def test_whatever_bug_a_release_has_the_next_one_does_everything_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = tmp_path / "faults"
    with stack(PERSONAS_FAULTS=str(faults)) as running:
        world = World(running)
        world.furnish()
        world.sender.start()
        told = []
        for step, points in RELEASES.items():
            told.append(release_with(running, faults, step, points))
            world.connect(SOURCES[1])  # a replay, the first time
        world.sender.end()
        found = verified(running, tmp_path / "expected.json", world)
        with capsys.disabled():
            print("", *told, f"{world.sender.requests:,} requests acknowledged", found, sep="\n")


def release_with(running: Stack, faults: Path, step: str, points: dict[str, str]) -> str:
    """A release with these bugs runs for a while; then one without them starts, and every stage goes on at once."""
    planted = ""
    for stage, point in points.items():
        planted += f"{point}=bug\n"
        faults.write_text(planted)
        until(lambda stage=stage: trouble(running, stage), within_s=BACK_WITHIN_S)
    time.sleep(BUG_S)
    tries = {}
    for stage, point in points.items():
        tries[stage], error = until(lambda stage=stage: trouble(running, stage), within_s=BACK_WITHIN_S)
        assert error == f"TypeError: a bug at {point}"
    before = {stage: published(running, stage) for stage in points}
    faults.write_text("")
    until(lambda: running.kill("workers"), within_s=BACK_WITHIN_S)
    began = time.monotonic()
    for stage in points:
        until(lambda stage=stage: published(running, stage) > before[stage], within_s=BACK_WITHIN_S)
        until(lambda stage=stage: not trouble(running, stage), within_s=BACK_WITHIN_S)
    took = time.monotonic() - began
    return f"bugs in {step}: so many tries of one log {tries}; all well {took:.1f} s after the next release"


def trouble(running: Stack, stage: str) -> tuple[int, str] | None:
    """Of the log of this stage that failed most often through a bug: how often, and what it says."""
    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(running.paths.database_url)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT failures, error FROM spaces_log WHERE stage = %s AND fault = 'code' ORDER BY failures DESC LIMIT 1",
            [stage],
        )
        found: tuple[int, str] | None = cursor.fetchone()
        return found
    return None
