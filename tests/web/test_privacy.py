"""Privacy on its pages and by the API: who may ask, what is refused, what is shown, and what an export holds."""

import json
import re
from html import unescape

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from access.models import AuditEntry
from audiences.models import Audience
from identity.models import Profile
from privacy.erasing import STEPS
from privacy.models import Regulation
from privacy.queries import LABELS
from sources.suppression import suppressed
from tests.factories_audiences import World
from tests.factories_destinations import make_person
from tests.factories_identity import message
from tests.sample_rows import make_regulation

pytestmark = pytest.mark.django_db
ADA = {"type": "email", "value": "Ada@x.org"}


def words(answer):
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())))


@pytest.fixture
def pages(cast):
    return f"/w/{cast.workspace.slug}/privacy", f"/w/{cast.workspace.slug}/s/{cast.space.slug}/privacy"


def call(cast, method, path, body=None, *, status=200, who="owner"):
    answer = cast.call(who, method, f"/api/{path}", body)
    assert answer.status_code == status, answer.content
    return answer.json()


def test_people_are_suppressed_asked_about_and_suppressed_no_longer_by_the_api(cast):
    body = {"regulationType": "SUPPRESS_ONLY", "subjects": [ADA]}
    made = call(cast, "POST", "regulations", body, status=201)["data"]["regulation"]
    assert (made["status"], made["subjects"], made["spaceId"], made["percent"]) == ("FINISHED", 1, None, 100)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, "ada" in json.dumps(entry.detail).lower()) == ("privacy.requested", False)
    asked = {"subjects": [ADA, {"type": "user_id", "value": "u1"}]}
    known = call(cast, "POST", "suppressed/lookups", asked)["data"]["subjects"]
    assert known == [
        {"type": "email", "value": "ada@x.org", "suppressed": True},
        {"type": "user_id", "value": "u1", "suppressed": False},
    ]
    call(cast, "POST", "regulations", body | {"regulationType": "UNSUPPRESS"}, status=201)
    assert suppressed(cast.workspace.pk, [("email", "ada@x.org")]) == [False]
    assert len(call(cast, "GET", "regulations")["data"]["regulations"]) == 2


def test_a_request_of_a_space_is_listed_there_and_in_the_workspace_and_names_nobody(cast):
    body = {"regulationType": "DELETE_INTERNAL", "subjects": [ADA]}
    path = f"spaces/{cast.space.public_id}/regulations"
    made = call(cast, "POST", path, body, status=201, who="admin")["data"]["regulation"]
    assert (made["status"], made["spaceId"], made["finishedAt"]) == ("INITIALIZED", cast.space.public_id, None)
    assert call(cast, "GET", f"{path}/{made['id']}")["data"]["regulation"] == made
    assert call(cast, "GET", f"regulations/{made['id']}")["data"]["regulation"] == made
    assert b"ada" not in bytes(Regulation.objects.get().sealed).lower()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"regulationType": "FORGET"}, "regulationType"),
        ({"subjects": []}, "subjects"),
        ({"subjects": [ADA, {"type": "email", "value": " "}]}, "subjects"),
        ({"subjects": [{"type": "email", "value": "x" * 501}]}, "subjects"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_path(cast, change, path):
    body = {"regulationType": "DELETE_ONLY", "subjects": [ADA], **change}
    errors = call(cast, "POST", "regulations", body, status=422)["errors"]
    assert errors[0]["field"].startswith(path)


def test_nobody_is_suppressed_in_one_space_alone(cast):
    body = {"regulationType": "SUPPRESS_WITH_DELETE", "subjects": [ADA]}
    call(cast, "POST", f"spaces/{cast.space.public_id}/regulations", body, status=409)
    assert not Regulation.objects.exists()


def test_the_form_takes_what_was_pasted_and_a_file_and_asks_whether_one_is_sure(cast, pages):
    whole, _ = pages
    file = SimpleUploadedFile("people.csv", b"type,value\nemail,Bob@x.org\n")
    entries = {"kind": "SUPPRESS_WITH_DELETE", "identifiers": "u1\nada@x.org", "file": file}
    browser = cast.browser("owner")
    answer = browser.post(f"{whole}/new", entries)
    assert "Tick this to go on." in words(answer)
    assert not Regulation.objects.exists()
    file.seek(0)
    answer = browser.post(f"{whole}/new", {**entries, "sure": "on"}, follow=True)
    assert "The whole workspace" in words(answer)
    assert Regulation.objects.get().subjects == 3
    assert suppressed(cast.workspace.pk, [("email", "bob@x.org"), ("user_id", "u1")]) == [True, True]
    assert "Running" in words(browser.get(whole)) or "Waiting" in words(browser.get(whole))


def test_a_profile_leads_to_a_request_that_names_it(cast, pages):
    number = make_person(cast.space, ("user_id", "u1"), ("email", "ada@x.org"))
    profile = Profile.objects.get(space=cast.space, number=number).public_id
    here = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{profile}"
    page = cast.browser("admin").get(here).content.decode()
    assert f"{pages[1]}/new?profile={profile}" in page
    assert "export" not in cast.browser("read_only").get(here).content.decode()
    form = cast.browser("admin").get(f"{pages[1]}/new?profile={profile}").content.decode()
    assert "user_id:u1\nemail:ada@x.org" in form
    assert cast.browser("admin").get(f"{pages[1]}/new?profile=use_none").status_code == 404


def test_every_step_is_named_on_the_page():
    assert LABELS.keys() == set(STEPS)


def test_the_report_says_what_is_left_and_what_nobody_could_reach(cast, pages):
    made = make_regulation(cast.space)
    said = words(cast.browser("owner").get(f"{pages[0]}/{made.public_id}"))
    for part in (
        "identity_profile PostgreSQL 2 0",
        "timeline ClickHouse 120 0",
        "Not forwarded",
        "Backups made before",
    ):
        assert part in said
    assert words(cast.browser("admin").get(f"{pages[1]}/{made.public_id}"))


def test_an_export_has_everything_in_both_forms_and_is_in_the_audit_trail(cast):
    world = World(cast.space)
    world.sent(message("identify", userId="u1", traits={"email": "ada@x.org", "plan": "pro"}, at=-2000))
    world.sent(message("identify", userId="u1", traits={"plan": "<b>team</b>"}, at=-1000))
    world.did("u1", "Ordered", properties={"total": 7})
    world.did("other", "Ordered", properties={"total": 99_123})
    world.audience("buyers", {"kind": "event", "name": "Ordered"})
    world.audience("orders", {"kind": "event_counter", "name": "Ordered"}, kind=Audience.Kind.TRAIT)
    world.computed()
    path = f"spaces/{cast.space.public_id}/profiles/email:ada@x.org/export"
    answer = cast.call("admin", "GET", f"/api/{path}")
    known = json.loads(answer.content)["data"]["known"]
    assert known["audiences"][0]["key"] == "buyers"
    assert known["computedTraits"][0]["value"] == 1
    assert [row["value"] for row in known["traitHistory"] if row["name"] == "plan"] == ["pro", "<b>team</b>"]
    assert {row["value"] for row in known["identifiers"]} == {"u1", "ada@x.org"}
    assert known["events"][0]["event"] == "Ordered"
    assert len(known["events"]) == 3
    assert known["membershipHistory"]
    assert known["evidence"]
    assert "99123" not in json.dumps(known)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.detail["profile"]) == ("privacy.exported", known["profile"][0]["id"])
    page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{known['profile'][0]['id']}/export"
    html = b"".join(cast.browser("admin").get(page).streaming_content).decode()
    assert "&lt;b&gt;team&lt;/b&gt;" in html
    assert "<b>" not in html
    for part in ("ada@x.org", "Ordered", "buyers", "Nothing."):
        assert part in html
    for who, status in (("read_only", 403), ("user", 403), ("stranger", 404)):
        assert cast.browser(who).get(page).status_code == status
        assert cast.call(who, "GET", f"/api/{path}").status_code == status
