"""How long until a split of somebody with a thousand identifiers can be read, and its undoing."""

import time
from statistics import median
from typing import Any

from benchmarks.figures import Figure
from benchmarks.sending import Connection, batch
from benchmarks.stack import Stack, until
from quickstart import making

IDENTIFIERS, EVENTS, RUNS, PATIENCE_S = 1_000, 2_000, 5, 120


def measure(running: Stack) -> list[Figure]:
    from identity import resolve_stage, services, splits
    from identity.models import Identifier, Profile
    from identity.rules.policy import Policy, policy_of
    from spaces.batches import advance, open_log, owning
    from spaces.models import Space

    source = running.api.post("sources", {"name": "Splits", "kind": "server"})["source"]
    public = making.a_space(running.api, "Splits", "dev")
    space = Space.objects.get(public_id=public["id"])
    rules = policy_of(None).to_json()
    for row in rules["identifiers"]:
        if row["type"] == "anonymous_id":
            row["limit"]["count"] = IDENTIFIERS
    services.change_policy(space, Policy.from_json(rules))
    running.api.post(f"spaces/{public['id']}/connections", {"sourceIds": [source["id"]], "replay": False})
    _send(running, source["writeKeys"][0])
    until(lambda: _resolved(running, public["id"]), within_s=PATIENCE_S, every_s=0.1)
    done, undone, floors = [], [], []
    with owning(f"resolve:{space.pk}") as mine:
        assert mine
        log = open_log(stage="resolve", partition=space.pk, workspace_id=space.workspace_id)
        profile = Profile.objects.get(space=space, merged_into=None)
        own = Identifier.objects.filter(space=space, type="anonymous_id").order_by("number")
        half = [(row.type, row.value) for row in own[: IDENTIFIERS // 2]]
        for _ in range(RUNS + 1):  # the first warms up
            wish = services.split(profile, half)
            begun = time.monotonic()
            advance(resolve_stage.STAGE, log)
            done.append(time.monotonic() - begun)
            wish.refresh_from_db()
            assert wish.state == "done", wish.error
            begun = time.monotonic()
            splits.component(wish)  # what is concerned, as it is read, is the least that has to be done
            floors.append(time.monotonic() - begun)
            services.undo_split(wish)
            begun = time.monotonic()
            advance(resolve_stage.STAGE, log)
            undone.append(time.monotonic() - begun)
    floor = median(floors[1:]) * 1000
    name = f"of {IDENTIFIERS:,} identifiers and {EVENTS:,} events, until it can be read"
    return [
        Figure(f"a split {name}", median(done[1:]) * 1000, "ms", RUNS, "reading what is concerned", floor),
        Figure(f"its undoing, {name}", median(undone[1:]) * 1000, "ms", RUNS, "reading what is concerned", floor),
    ]


def _send(running: Stack, key: str) -> None:
    messages: list[dict[str, Any]] = [
        {
            "type": "track",
            "event": "Seen",
            "messageId": f"split-{number}",
            "userId": "one",
            "anonymousId": f"device-{number % (IDENTIFIERS - 1)}",
        }
        for number in range(EVENTS)
    ]
    connection = Connection(running.address)
    for start in range(0, EVENTS, 500):
        connection.send(batch(running.address, key, messages[start : start + 500]))


def _resolved(running: Stack, space: str) -> bool:
    timeline = running.api.get(f"spaces/{space}/timeline", **{"pagination[count]": 1})
    return int(timeline["pagination"]["totalEntries"]) >= EVENTS
