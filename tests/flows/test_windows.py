"""Once for real: a window of one minute passes on the whole stack, and people leave and enter by the clock alone."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from benchmarks.stack import Stack, stack, until
from quickstart import making
from quickstart.client import Json
from quickstart.feed import Origin

MINUTE = timedelta(minutes=1)
MOST_LATE_S = 15.0  # what the product promises
SEEN = {"kind": "event", "name": "Seen", "within": {"minutes": 1}}
UNSEEN = {
    "all": [
        {"kind": "event", "name": "Signed Up"},
        {"kind": "event", "name": "Seen", "exactly": 0, "within": {"minutes": 1}},
    ]
}


def test_people_leave_and_enter_by_the_clock_within_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with stack() as running:
        api = running.api
        space = making.a_space(api, "Clock", "dev")
        source = making.a_source(api, Origin("Site", "website"))
        making.connections(api, space, [source])
        audiences = [making.an_audience(api, space, *each) for each in (("Seen", SEEN), ("Unseen", UNSEEN))]
        catcher = making.a_catcher(api, space)
        for audience in audiences:
            making.a_subscription(api, space, audience, catcher)
        seen, unseen = (lambda each=each: held(running, space, catcher, each) for each in audiences)

        send(running, source, "Signed Up")
        until(lambda: unseen() == {"u1"}, within_s=MOST_LATE_S)
        done = datetime.now(UTC)
        send(running, source, "Seen")
        until(lambda: (seen(), unseen()) == ({"u1"}, set()), within_s=MOST_LATE_S)
        until(lambda: datetime.now(UTC) > done + MINUTE - timedelta(seconds=2), within_s=60)
        assert (seen(), unseen()) == ({"u1"}, set())  # nobody goes before the time
        until(lambda: (seen(), unseen()) == (set(), {"u1"}), within_s=MOST_LATE_S + 2)
        late = (datetime.now(UTC) - done - MINUTE).total_seconds()
        with capsys.disabled():
            print(f"\nout of one audience and into another {late:.1f} s after the moment")
        assert 0 <= late < MOST_LATE_S
        assert causes(running, space, audiences[0])[0] == causes(running, space, audiences[1])[0] == "clock"


def held(running: Stack, space: Json, catcher: Json, audience: Json) -> set[str]:
    """Whom the destination holds in the audience."""
    path = f"spaces/{space['id']}/destinations/{catcher['id']}/list"
    return {each["value"] for each in running.api.all(path, "list", key=audience["key"])}


def causes(running: Stack, space: Json, audience: Json) -> list[str]:
    """Why its members changed, the newest first."""
    path = f"spaces/{space['id']}/audiences/{audience['id']}/changes"
    return [change["cause"] for change in running.api.get(path)["changes"]]


def send(running: Stack, source: Json, event: str) -> None:
    body = {"writeKey": source["writeKeys"][0], "userId": "u1", "event": event}
    httpx.post(f"{running.address}/v1/track", json=body, trust_env=False).raise_for_status()
