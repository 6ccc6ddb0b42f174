"""The quickstart on a small file of one's own, as a user runs it: three times on the same folder.

The first time it starts a console and ends it; then one is running in the folder, which it uses.
"""

import json
import os
import random
import re
import socket
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks import prepared
from quickstart.console import open_console

PROJECT = Path(__file__).resolve().parent.parent.parent
STORES = ("DATABASE_URL", "DATABASE_OWNER_URL", "CLICKHOUSE_URL", "REDIS_URL")
PEOPLE, MESSAGES, DOUBLED = 40, 400, 25
BOUGHT, LOOKED = "Bought", "Looked"
UNDATED = "person-undated"
PASSWORD = "-begins-with-a-dash"


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Story:
    """Some people's 30 days, a few messages older than that, and what must be found out about them."""

    def __init__(self):
        self.now = datetime.now(UTC)
        self.dice = random.Random(7)
        self.good = [self._message(number) for number in range(MESSAGES)]
        self.good += [self._undated(number) for number in range(2)]
        again = self.dice.sample(self.good[:MESSAGES], DOUBLED)
        self.sent = [*self.good, *again, {"type": "buy", "userId": "person-1", "messageId": "bad"}]
        self.dice.shuffle(self.sent)
        self.lines = [json.dumps(each) for each in self.sent]
        self.lines.insert(3, '{"type": "track", "userId"')

    def _message(self, number):
        at = self.now - timedelta(minutes=self.dice.randrange(60, 33 * 24 * 60))
        who = f"person-{self.dice.randrange(PEOPLE)}"
        kind = self.dice.choice([BOUGHT] * 5 + [LOOKED] * 2 + ["identify"])
        told = {"type": "identify", "traits": {"email": f"{who}@example.com"}}
        message = told if kind == "identify" else {"type": "track", "event": kind, "properties": {"number": number}}
        device = {"anonymousId": f"device-{who}-{self.dice.randrange(2)}"} if self.dice.random() < 0.5 else {}
        return {"messageId": f"m{number}", "userId": who, "timestamp": at.isoformat()} | device | message

    def _undated(self, number):
        return {"messageId": f"undated-{number}", "type": "track", "event": BOUGHT, "userId": UNDATED}

    def age(self, message):
        return self.now - datetime.fromisoformat(message["timestamp"]) if "timestamp" in message else timedelta(0)

    @property
    def replayed(self):
        return [each for each in self.good if self.age(each) < timedelta(days=30)]

    @property
    def members(self):
        young = [each for each in self.good if self.age(each) < timedelta(days=7) and each.get("event") == BOUGHT]
        counts = Counter(each["userId"] for each in young)
        return {who for who, count in counts.items() if count >= 2}


class Place:
    """A folder and ports of their own."""

    def __init__(self, folder):
        self.home = folder / "var"
        self.file = folder / "events.jsonl"
        self.environ = {name: value for name, value in os.environ.items() if name not in STORES} | {
            "PERSONAS_HOME": str(self.home),
            "PERSONAS_WEB_PORT": free_port(),
            "PERSONAS_CLICKHOUSE_PORT": free_port(),
        }

    def run(self):
        """Its status, what it said, and the table."""
        command = [sys.executable, "-m", "quickstart", "--once", "--events", str(self.file)]
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=self.environ,
            timeout=120,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout, json.loads((self.home / "quickstart.json").read_text())


@pytest.fixture(scope="module")
def story():
    return Story()


@pytest.fixture(scope="module")
def place(tmp_path_factory, story):
    place = Place(tmp_path_factory.mktemp("quickstart"))
    place.file.write_text("\n".join(story.lines))
    place.home.mkdir()
    prepared.prepare(place.home, place.environ)
    (place.home / "quickstart.json").write_text(json.dumps({"password": PASSWORD}))  # as of a run that did not get far
    return place


@pytest.fixture(scope="module")
def first(place):
    return place.run()


@pytest.fixture(scope="module")
def open_place(place, first):
    """A console runs in the folder."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place.environ.items():
            environment.setenv(name, value)
        console = open_console(place.home)
    yield
    assert console.process.poll() is None  # nobody ended what was not theirs
    console.stop()


@pytest.fixture(scope="module")
def second(place, open_place):
    return place.run()


def test_every_figure_is_the_true_one(first, story):
    status, said, kept = first
    assert status == 0, said
    table = kept["table"]
    assert table["sent"] == len(story.sent)
    assert (table["archived"], table["doubled"], table["rejected"]) == (len(story.good), DOUBLED, 1)
    assert table["profiles"] == len({each["userId"] for each in story.replayed})
    assert table["replay"]["events"] == len(story.replayed)
    size = len(story.members)
    assert 5 < size < PEOPLE
    assert table["audience"] == {"preview": size, "computed": size, "truth": size, "delivered": size}


def test_a_bad_line_is_named(first):
    _, said, _ = first
    assert "line 4: not JSON" in said
    assert "unknown type 'buy'" in said


def test_what_opens_the_console_is_kept(first, place):
    _, _, kept = first
    assert kept["password"] == PASSWORD
    assert kept["console"] == f"http://127.0.0.1:{place.environ['PERSONAS_WEB_PORT']}"
    assert all(kept[name] for name in ("login", "api_token", "workspace", "audience"))
    assert set(kept["spaces"]) == {"dev", "prod"}
    assert kept["write_keys"].keys() == kept["sources"].keys()
    assert (place.home / "quickstart.json").stat().st_mode & 0o077 == 0


def test_again_everything_is_doubled_and_nothing_else_changes(first, second, story):
    status, said, kept = second
    assert status == 0, said
    before, after = first[2]["table"], kept["table"]
    assert after.pop("doubled") == len(story.sent) - 1
    assert before.pop("doubled") == DOUBLED
    assert after == before
    assert {**kept, "table": None} == {**first[2], "table": None}


def test_who_is_not_where_the_truth_puts_them_is_named_with_status_1(second, place, story):
    memory = place.home / "quickstart-data.json"
    kept = json.loads(memory.read_text())
    (received,) = kept.values()
    received |= dict.fromkeys(("from", "to"), (story.now - timedelta(days=20)).timestamp() * 1000)  # nothing is newer
    memory.write_text(json.dumps(kept))
    status, said, _ = place.run()
    assert status == 1, said
    who = ", ".join(sorted(story.members)[:5])
    for space in ("Dev", "Prod"):
        assert re.search(rf"{space} of events \w+: {BOUGHT} twice .*: computed, but not in truth: {who} and", said)
