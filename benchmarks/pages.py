"""How long the server takes for each page, on data: the pages are those of the URLconf."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from statistics import median

import httpx

from benchmarks import shop
from benchmarks.figures import Figure
from benchmarks.preview import AUDIENCES
from benchmarks.stack import EMAIL, PASSWORD, Stack, until
from quickstart import making
from quickstart.client import Json

RUNS = 15
PATIENCE_S = 120


def measure(running: Stack) -> list[Figure]:
    space = shop.replayed(running)
    ids = _ids(space, _furnish(running, space))
    with closing(_signed_in(running)) as http:
        floor = _milliseconds(http, "/livez")[0]
        found = {name: _milliseconds(http, path) for name, path in _pages(http, ids)}
    return [
        Figure(f"page {name}", middle, "ms", RUNS, "an empty view", floor, f"worst {worst:,.0f} ms")
        for name, (middle, worst) in sorted(found.items(), key=lambda each: -each[1][0])
    ]


def _furnish(running: Stack, space: Json) -> dict[str, str]:
    """Two audiences are computed, and a catcher holds the first. Answers what the addresses of their pages name."""
    catcher = making.a_catcher(running.api, space)
    made = [making.an_audience(running.api, space, name, definition) for name, definition in AUDIENCES.items()]
    going = making.a_subscription(running.api, space, made[0], catcher)
    path = f"spaces/{space['id']}/audiences"

    def in_step() -> bool:
        live = all(each["status"].lower() == "live" for each in running.api.all(path, "audiences"))
        ways = running.api.all(f"{path}/{made[0]['id']}/destination-connections", "subscriptions")
        return live and all(each["status"] == "in_step" for each in ways)

    until(in_step, within_s=PATIENCE_S, every_s=0.2)
    return {
        "source": shop.archived(running)[0]["id"],  # other benchmarks make sources too: the space knows this one
        "audience": made[0]["id"],
        "destination": catcher["id"],
        "subscription": going["id"],
    }


def _ids(space: Json, made: dict[str, str]) -> dict[str, str]:
    """What the addresses of pages are made of; the profile is that of the most events."""
    from access.models import User
    from access.services import COMMAND
    from audiences import drafts
    from audiences.rules import draft_form
    from identity.models import Profile
    from sources.events import client
    from sources.events.sql import sql
    from sources.models import Connection, Source
    from spaces.models import Space

    here = Space.objects.select_related("workspace").get(public_id=space["id"])
    busiest = "SELECT profile FROM profile_events WHERE space = %s GROUP BY profile ORDER BY count() DESC LIMIT 1"
    number = client.rows(sql(busiest, here.pk))[0][0]
    winner = Profile.objects.get(space=here, number=number).merged_into or number
    draft = drafts.begin(here, COMMAND)
    drafts.keep(draft, sketch=draft_form.of_definition(next(iter(AUDIENCES.values()))), name="Drafted")
    source = Source.objects.get(public_id=made["source"])
    return {
        "workspace": here.workspace.slug,
        "space": here.slug,
        "draft": draft.public_id,
        "person": User.objects.get(email=EMAIL).public_id,
        "key": source.write_keys.earliest("pk").key,
        "connection": Connection.objects.get(space=here, source=source).public_id,
        "profile": Profile.objects.get(space=here, number=winner).public_id,
        **made,
    }


def _signed_in(running: Stack) -> httpx.Client:
    http = httpx.Client(base_url=running.address, timeout=30, trust_env=False)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', http.get("/sign-in").text)
    assert token
    form = {"username": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": token.group(1)}
    answer = http.post("/sign-in", data=form, headers={"Referer": running.address})
    if answer.status_code != 302:
        raise RuntimeError(f"signing in: {answer.status_code}")
    return http


def _pages(http: httpx.Client, ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(name, path) of every address that answers with a page, once what varies in it is filled in."""
    from django.urls import get_resolver, reverse

    for name, ((_, wanted),) in sorted(_named(get_resolver().reverse_dict)):
        if not name.startswith("api-") and set(wanted) <= ids.keys():
            path = reverse(name, kwargs={each: ids[each] for each in wanted})
            answer = http.get(path)
            if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
                yield name, path


def _named(reverse_dict: object) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    for name in reverse_dict:  # type: ignore[attr-defined]
        if isinstance(name, str):
            yield name, reverse_dict[name][0]  # type: ignore[index]


def _milliseconds(http: httpx.Client, path: str) -> tuple[float, float]:
    """(median, worst) of several, after one that warms up."""
    http.get(path)
    took = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        http.get(path).raise_for_status()
        took.append((time.perf_counter() - begun) * 1000)
    return median(took), max(took)
