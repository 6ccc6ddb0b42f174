"""A backup while events come in; everything destroyed; all of it back elsewhere, and nobody is told anything twice."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter

import httpx
import pytest

from benchmarks import prepared
from benchmarks.stack import until
from personas_site.embedded.processes import leftovers
from quickstart.client import Api
from quickstart.console import open_console
from tests.flows.test_quickstart import PROJECT, Place, Story
from tests.receiver import receiving

EVENT = "Joined"
AFTERWARDS = 20  # messages that come after the backup
PAUSE_S = 0.1  # between batches
WITHIN_S = 60


class Load:
    """Five new people join, again and again, until told to stop."""

    def __init__(self, address, key):
        self.url, self.key, self.sent = f"{address}/v1/batch", key, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        number = 0
        while not self.over.wait(PAUSE_S):
            batch = [message(number + each) for each in range(5)]
            if post(self.url, self.key, batch):
                number += len(batch)
                self.sent += [each["messageId"] for each in batch]

    def stop(self):
        self.over.set()
        self.thread.join()


def message(number):
    return {"type": "track", "event": EVENT, "userId": f"joiner-{number}", "messageId": f"joined-{number}"}


def post(url, key, batch):
    answer = httpx.post(url, json={"batch": batch}, auth=(key, ""), timeout=30, trust_env=False)
    return answer.status_code == 200


def manage(place, *arguments, fails=False):
    command = [sys.executable, "manage.py", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=place.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert bool(done.returncode) == fails, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("backup")


@pytest.fixture
def opened(monkeypatch):
    """Consoles of places, all of which are gone after the test."""
    running = []

    def open_at(place):
        for name, value in place.environ.items():
            monkeypatch.setenv(name, value)
        running.append(open_console(place.home))
        return running[-1]

    yield open_at
    for console in running:
        console.stop()


def test_under_load_destroyed_and_restored_elsewhere(folder, opened):
    with receiving() as tool:
        here, there, copy = Place(folder / "here"), Place(folder / "there"), folder / "copy"
        for place in (here, there):
            place.home.mkdir(parents=True)
            place.environ["PERSONAS_OUTBOUND_ALLOW"] = tool.place
        prepared.prepare(here.home, here.environ)
        here.file.write_text("\n".join(Story().lines))
        console = opened(here)
        status, said, before = here.run()
        assert status == 0, said

        api = Api(console.address, before["api_token"])
        source, space, subscription = listening(api, tool)
        load = Load(console.address, source["writeKeys"][0])
        until(lambda: len(tool.got) > 50, within_s=WITHIN_S)
        known = set(tool.ids())
        manage(here, "backup", copy, "--keys")
        assert len(load.sent) > len(known)
        load.stop()
        destroy(console, here)

        assert "no backup" in manage(there, "restore", folder, fails=True)
        manage(there, "restore", copy)
        assert "say --replace" in manage(there, "restore", copy, fails=True)
        console = opened(there)
        api = Api(console.address, before["api_token"])
        again(console.address, source, load)
        expected = len(load.sent) + AFTERWARDS
        until(lambda: in_step(api, subscription, expected), within_s=WITHIN_S)
        times = Counter(tool.ids())
        assert not [id for id in known if times[id] > 1]
        told = {call["userId"] for call in tool.messages() if call["type"] != "test"}
        assert told == {f"joiner-{number}" for number in range(expected)}
        assert api.get(f"sources/{source['id']}")["source"]["tally"]["archived"] == expected
        timeline = [row["messageId"] for row in api.all(f"spaces/{space['id']}/timeline", "timeline")]
        assert sorted(timeline) == sorted(f"joined-{number}" for number in range(expected))

        for name in ("quickstart.json", "quickstart-data.json"):
            shutil.copy(folder / name, there.home)
        there.file.write_bytes(here.file.read_bytes())
        status, said, after = there.run()
        assert status == 0, said
        for table in (before["table"], after["table"]):
            del table["doubled"]
        assert after["table"] == before["table"]


def listening(api, tool):
    """A source, a space that listens to it, and everybody who joined goes to the tool."""
    source = api.post("sources", {"name": "Joiners", "kind": "http"})["source"]
    space = api.post("spaces", {"name": "Joiners", "kind": "dev"})["space"]
    api.post(f"spaces/{space['id']}/connections", {"sourceIds": [source["id"]], "replay": False})
    definition = {"kind": "event", "name": EVENT, "atLeast": 1, "within": {"days": 7}}
    audience = {"name": "Joined", "definition": definition}
    audience = api.post(f"spaces/{space['id']}/audiences", audience)["audience"]
    settings = {"url": tool.url, "style": "event"}
    body = {"kind": "webhook", "name": "Tool", "settings": settings}
    destination = api.post(f"spaces/{space['id']}/destinations", body)["destination"]
    path = f"spaces/{space['id']}/audiences/{audience['id']}/destination-connections"
    subscription = api.post(path, {"destinationId": destination["id"], "options": {"sendIdentify": False}})
    subscription = subscription["subscription"]
    return source, space, f"{path}/{subscription['id']}"


def destroy(console, place):
    """As if the machine were gone. What the user keeps of a quickstart is elsewhere."""
    for name in ("quickstart.json", "quickstart-data.json"):
        shutil.copy(place.home / name, place.home.parent.parent)
    os.kill(console.process.pid, signal.SIGKILL)
    console.process.wait()
    until(lambda: not leftovers(place.home), within_s=WITHIN_S)
    shutil.rmtree(place.home)


def again(address, source, load):
    """Senders send once more whatever they sent, and then something new."""
    numbers = range(len(load.sent) + AFTERWARDS)
    for start in range(0, len(numbers), 100):
        batch = [message(number) for number in numbers[start : start + 100]]
        until(lambda batch=batch: post(f"{address}/v1/batch", source["writeKeys"][0], batch), within_s=WITHIN_S)


def in_step(api, path, members):
    now = api.get(path)["subscription"]
    return now["status"] == "in_step" and now["desired"] == now["acknowledged"] == members
