"""Syncs of profiles as people and scripts use them."""

import pytest
from django.conf import settings
from django.urls import reverse

from access.models import AuditEntry
from identity.models import ChangeReader
from profiles_sync import running
from profiles_sync.models import ProfilesSync, SyncedProfile
from spaces.clock import clock
from tests.cast import words
from tests.factories_audiences import World
from tests.synced import postgresql

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct-horse"


@pytest.fixture
def target(monkeypatch):
    with postgresql() as opened:
        monkeypatch.setattr(settings, "OUTBOUND_ALLOW", [opened.place])
        yield opened


@pytest.fixture
def api(cast):
    def call(method, path, body=None, *, status=200, who="owner"):
        answer = cast.call(who, method, f"/api/spaces/{cast.space.public_id}/{path}", body)
        assert answer.status_code == status, answer.content
        assert PASSWORD not in answer.content.decode()
        return answer.json()["data"] if status < 300 else answer.json()["errors"][0]

    return call


def run(sync):
    while running.advance(sync.pk, clock):
        pass


def test_everything_by_the_api(cast, api, target):
    World(cast.space).did("u1", "Ordered")
    settings = target.settings("crm") | {"password": PASSWORD}
    body = {"kind": "postgresql", "name": "Analytics", "settings": settings, "tables": ["user_identifiers", "tracks"]}
    assert api("POST", "profiles-syncs", body | {"timeZone": "Mars"}, status=422)["field"] == "timeZone"
    assert api("POST", "profiles-syncs", body | {"kind": "paper"}, status=422)["field"] == "kind"
    assert api("POST", "profiles-syncs", body | {"tables": ["users"]}, status=422)["field"] == "tables[0]"
    wrong = body | {"settings": settings | {"host": "10.0.0.1"}}
    assert api("POST", "profiles-syncs", wrong, status=422)["field"] == "settings.host"
    sync = api("POST", "profiles-syncs", body, status=201)["profilesSync"]
    path = f"profiles-syncs/{sync['id']}"
    assert sync["settings"]["password"] == "••••••••"
    assert api("POST", f"{path}/test")["test"] == {"ok": True, "message": ""}
    assert "No run is under way" in api("POST", f"{path}/cancel", status=409)["message"]
    stored = ProfilesSync.objects.get()
    run(stored)
    (done,) = api("GET", f"{path}/runs")["runs"]
    assert (done["state"], done["rows"]) == ("done", {"user_identifiers": 1, "tracks": 1})
    assert target.raw("SELECT type, value FROM crm.user_identifiers") == [("user_id", "u1")]
    api("POST", f"{path}/run", {"anew": True})
    running.advance(stored.pk, clock)
    api("POST", f"{path}/cancel")
    assert [row["state"] for row in api("GET", f"{path}/runs")["runs"]] == ["cancelled", "done"]
    assert api("PATCH", path, {"enabled": False})["profilesSync"]["nextAt"] is None
    assert "switched off" in api("POST", f"{path}/run", status=409)["message"]
    api("PATCH", path, {"name": "CRM"}, status=403, who="user")
    api("DELETE", path)
    for model in (ProfilesSync, SyncedProfile, ChangeReader):
        assert not model.objects.exists()
    entries = AuditEntry.objects.filter(action__startswith="profiles_sync").order_by("pk")
    verbs = ["created", "asked_anew", "cancelled", "changed", "deleted"]
    assert [entry.action for entry in entries] == [f"profiles_sync.{verb}" for verb in verbs]
    assert PASSWORD not in str([entry.detail for entry in entries])


def test_it_is_set_up_run_changed_and_deleted_on_pages(cast, target):
    World(cast.space).did("u1", "Ordered")
    client, at = cast.browser("admin"), [cast.workspace.slug, cast.space.slug]
    page = words(client.get(reverse("profiles-syncs", args=at)))
    assert "No sync yet" in page
    new = reverse("profiles-sync-new", args=at) + "?kind=postgresql"
    form = {f"settings-{name}": value for name, value in target.settings("crm").items()}
    form |= {"name": "Analytics", "every": "week", "at": "06:30", "weekday": "0", "time_zone": "Europe/Berlin"}
    refused = client.post(new, form | {"at": "soon"})
    assert (refused.status_code, ProfilesSync.objects.count()) == (422, 0)
    page = words(client.post(new, form | {"events": "Ordered\n Seen "}, follow=True))
    assert "Analytics can be written to." in page
    assert "every Monday at 06:30 (Europe/Berlin)" in page
    sync = ProfilesSync.objects.get()
    assert sync.events == ["Ordered", "Seen"]
    run(sync)
    one = reverse("profiles-sync", args=[*at, sync.public_id])
    page = words(client.get(one))
    assert "Only these events: Ordered, Seen" in page
    assert "user_identifiers 1" in page
    edit = reverse("profiles-sync-edit", args=[*at, sync.public_id])
    assert words(client.post(edit, form | {"settings-database": "nowhere"}, follow=True)).count("does not exist")
    assert "Cancel the run" not in words(client.post(one, {"do": "run"}, follow=True))
    running.advance(sync.pk, clock)
    running.advance(sync.pk, clock)
    page = words(client.get(one))
    assert 'database "nowhere" does not exist' in page
    assert "The run is cancelled" in words(client.post(one, {"do": "cancel"}, follow=True))
    assert client.post(one, {"confirm": "else"}).status_code == 422
    assert "is deleted" in words(client.post(one, {"confirm": "Analytics"}, follow=True))
