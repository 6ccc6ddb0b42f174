"""A stored definition that this release cannot read: every page and every answer of the API lives on, and says so."""

import html

import pytest
from django.test import Client
from django.urls import reverse

from audiences import backfill
from audiences.conditions.event import Performed
from audiences.models import Audience, Version
from sources.models import Replay
from tests.factories_audiences import World
from tests.routes import PROFILE_API, routes
from tests.sample_rows import belongings

pytestmark = pytest.mark.django_db

GARBAGE = [
    {"kind": "fortune", "name": "x"},
    {"kind": "event", "name": "Ordered", "gone": 1},
    {"all": [{"kind": "audience", "key": "new_people"}, 7]},
    7,
    [],
    {"not": None},
]


@pytest.fixture
def ids(cast):
    return belongings(cast.space) | {"secret": "x", "route": "batch"}


@pytest.fixture
def unreadable(cast):
    """Audiences whose definitions cannot be read, for every reason there is, and in every state."""
    made = []
    states = [*((definition, "live") for definition in GARBAGE), (GARBAGE[0], "computing"), (GARBAGE[0], "failed")]
    for number, (definition, state) in enumerate(states):
        name = f"Old {state} {number}"
        audience = Audience.objects.create(
            workspace=cast.workspace, space=cast.space, name=name, key=f"{state}{number}"
        )
        version = Version.objects.create(
            workspace=cast.workspace, audience=audience, number=1, definition=definition, state=state
        )
        if state == "live":
            Audience.objects.filter(pk=audience.pk).update(serving=version, size=0)
        made.append(audience)
    return made


def broken_routes(cast, ids, audiences):
    """What fails of all pages and answers of the space, and of those about one of these audiences, for each."""
    browser, bearer = cast.browser("owner"), cast.bearer("owner")
    browser.raise_request_exception = False
    found = []
    for route in routes():
        if (
            not route.name
            or route.name in PROFILE_API
            or "GET" not in route.methods
            or not {"space", "space_id"} & {*route.kwargs}
        ):
            continue
        client, headers = (Client(raise_request_exception=False), bearer) if route.is_api else (browser, {})
        of_one = {"audience", "audience_id"} & {*route.kwargs}
        for audience in audiences if of_one else audiences[:1]:
            url = route.url(ids | dict.fromkeys(of_one, audience.public_id))
            if client.get(url, headers=headers).status_code >= 500:
                found.append((route.name, audience.name))
    return found


def test_no_page_and_no_answer_breaks(cast, ids, unreadable):
    assert broken_routes(cast, ids, unreadable) == []


def test_a_bug_in_one_kind_of_condition_breaks_none_either(cast, ids, monkeypatch):
    def broken(*args):
        raise KeyError("a bug of this release")

    monkeypatch.setattr(Performed, "parse", broken)
    assert broken_routes(cast, ids, [*Audience.objects.filter(space=cast.space)]) == []


def test_it_is_shown_with_its_reason_and_can_be_replaced_switched_and_deleted(cast, ids):
    world = World(cast.space)
    Replay.objects.update(state=Replay.State.COMPLETE)
    Version.objects.update(definition=GARBAGE[1])
    for version in world.ready():
        backfill.compute(version, world.clock)
    path = f"/api/spaces/{cast.space.public_id}/audiences/{ids['audience_id']}"
    shown = cast.call("user", "GET", path).json()["data"]["audience"]
    assert shown["status"] == "failed"
    assert "gone: is not known here" in shown["problem"]["reason"]
    assert shown["definition"] == GARBAGE[1]
    slugs = [cast.workspace.slug, cast.space.slug]
    for url in (reverse("audiences", args=slugs), reverse("audience", args=[*slugs, ids["audience"]])):
        assert "gone: is not known here" in html.unescape(cast.browser("user").get(url).content.decode())
    builder = cast.browser("user").get(reverse("audience-builder", args=[*slugs, ids["audience"]]))
    assert "What you describe here takes its place." in builder.content.decode()
    for enabled in (False, True):
        assert cast.call("user", "PATCH", path, {"enabled": enabled}).status_code == 200
    Version.objects.update(definition={"kind": "audience", "key": "other", "gone": 1})
    other = cast.call("user", "POST", f"/api/spaces/{cast.space.public_id}/audiences", {"name": "Other", **ASKED})
    assert other.status_code == 201
    gone = cast.call("user", "DELETE", f"{path.rpartition('/')[0]}/{other.json()['data']['audience']['id']}")
    assert (gone.status_code, "new_people" in gone.content.decode()) == (409, True)  # it may ask about it
    assert cast.call("user", "PATCH", path, ASKED | {"despiteCases": True}).status_code == 200
    world.computed()
    assert cast.call("user", "GET", path).json()["data"]["audience"]["status"] == "live"
    assert cast.call("user", "DELETE", path).status_code == 200


ASKED = {"definition": {"kind": "event", "name": "Ordered", "atLeast": 1}}
