"""Test cases on their pages and by the API: described, asked on each save, and broken on purpose."""

import pytest

from access.models import AuditEntry
from audiences import services
from audiences.models import Audience
from audiences.rules import draft_form
from tests.cast import words
from tests.draft_fields import fields_of

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1, "within": {"days": 7}}
SHORTER = {**ORDERED, "within": {"days": 3}}
AT = "2026-06-15T12:00:00.000Z"
CASE = {
    "name": "Bought five days ago",
    "at": AT,
    "expected": True,
    "events": [{"name": "Ordered", "at": "2026-06-10T12:00:00.000Z", "properties": {"total": 60}}],
}
MESSAGE = (
    "Bought five days ago: Expected in, and it is out."
    ' “They performed "Ordered" at least once in the last 3 days.” is not true (no such event).'
)


@pytest.fixture
def audience(cast):
    return services.create_audience(cast.space, name="Buyers", definition=ORDERED, by=cast.people["user"])


@pytest.fixture
def page(cast, audience):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{audience.public_id}"


def form(**more):
    rows = {f"{name}-{key}": "0" for name in ("traits", "audiences") for key in ("TOTAL_FORMS", "INITIAL_FORMS")}
    return {
        "name": "Bought five days ago",
        "at": "2026-06-15 12:00:00",
        "expected": "in",
        "events-TOTAL_FORMS": "2",
        "events-INITIAL_FORMS": "0",
        "events-0-name": "Ordered",
        "events-0-at": "2026-06-10 12:00:00",
        "events-0-properties": '{"total": 60}',
        **rows,
        **more,
    }


def test_cases_are_kept_asked_changed_and_removed_through_the_api(api, audience):
    path = f"audiences/{audience.public_id}/cases"
    made = api("POST", path, CASE, status=201)["case"]
    assert (made["holds"], made["came"], made["reasons"]) == (True, True, [])
    assert made["events"][0]["properties"] == {"total": 60}
    changed = api("PUT", f"{path}/{made['id']}", {**CASE, "expected": False})["case"]
    assert (changed["id"], changed["holds"]) == (made["id"], False)
    assert changed["reasons"][0]["answer"] == "1 such event"
    (row,) = api("GET", path, who="read_only")["cases"]
    assert row == changed
    api("POST", path, CASE, who="read_only", status=403)
    api("DELETE", f"{path}/{made['id']}")
    api("DELETE", f"{path}/{made['id']}", status=404)
    assert api("GET", path)["cases"] == []


def test_a_definition_is_tried_on_the_cases_without_being_saved(api, audience):
    path = f"audiences/{audience.public_id}/cases"
    api("POST", path, CASE, status=201)
    (outcome,) = api("POST", f"{path}/run", {"definition": SHORTER})["cases"]
    assert (outcome["holds"], outcome["came"]) == (False, False)
    assert api("POST", f"{path}/run", {})["cases"][0]["holds"]
    assert api("POST", f"{path}/run", {"definition": {"kind": "?"}}, status=422)["field"] == "definition.kind"
    assert audience.versions.count() == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"expected": 1}, "expected"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-06-15T12:00:00"}, "at"),
        ({"events": [{"name": "Ordered", "at": "2026-06-16T12:00:00Z"}]}, "events[0].at"),
        ({"traits": {"plan": "x" * 20_000}}, "traits.plan"),
        ({"split": 100}, "split"),
        ({"colour": "red"}, "colour"),
        ({"audiences": [{"key": "buyers", "enteredAt": AT, "leftAt": "2026-06-14T12:00:00Z"}]}, "audiences[0].leftAt"),
    ],
)
def test_what_is_no_case_is_refused_with_its_path(api, audience, change, path):
    error = api("POST", f"audiences/{audience.public_id}/cases", CASE | change, status=422)
    assert error["field"] == path


def test_a_save_that_breaks_a_case_says_which_and_can_be_done_on_purpose(api, audience):
    api("POST", f"audiences/{audience.public_id}/cases", CASE, status=201)
    path = f"audiences/{audience.public_id}"
    error = api("PATCH", path, {"definition": SHORTER}, status=422)
    assert (error["field"], error["message"]) == ("despiteCases", MESSAGE)
    assert api("PATCH", path, {"definition": SHORTER, "despiteCases": True})["audience"]["version"] == 2
    assert AuditEntry.objects.latest("pk").detail["despiteCases"] is True
    api("PATCH", path, {"name": "Renamed"})  # no definition, so nothing to ask
    api("POST", f"{path}/versions/1/restore")
    api("POST", f"{path}/versions/2/restore", status=422)
    assert api("POST", f"{path}/versions/2/restore", {"despiteCases": True})["audience"]["version"] == 4


def test_there_are_no_more_cases_than_a_save_can_wait_for(api, audience):
    Audience.objects.filter(pk=audience.pk).update(cases=[{"id": f"cas_{n}", **CASE} for n in range(30)])
    api("POST", f"audiences/{audience.public_id}/cases", CASE, status=409)


def test_a_case_is_described_on_a_page(cast, audience, page):
    user = cast.browser("user")
    assert "No test cases yet" in words(user.get(f"{page}/cases"))
    more = user.post(f"{page}/cases/new", form(act="add:events"))
    assert (more.status_code, 'name="events-2-name"' in more.content.decode()) == (200, True)
    answer = user.post(f"{page}/cases/new", form(), follow=True)
    assert "Bought five days ago As expected" in words(answer)
    (row,) = Audience.objects.get().cases
    assert row["events"] == [
        {"name": "Ordered", "at": "2026-06-10T12:00:00.000Z", "properties": {"total": 60}, "source": ""}
    ]
    shown = user.get(f"{page}/cases/{row['id']}").content.decode()
    assert 'value="2026-06-10 12:00:00"' in shown
    answer = user.post(f"{page}/cases/{row['id']}", form(expected="out"), follow=True)
    assert "Expected out, and it is in. True They performed" in words(answer)
    answer = user.post(f"{page}/cases/new", form(**{"events-0-at": "2026-06-16 12:00:00"}))
    assert answer.status_code == 422
    assert "must not be after the moment of the case" in words(answer)
    assert user.post(f"{page}/cases/new", form(**{"events-0-properties": "[1]"})).status_code == 422
    assert cast.browser("read_only").post(f"{page}/cases", {"remove": row["id"]}).status_code == 403
    assert "No test cases yet" in words(user.post(f"{page}/cases", {"remove": row["id"]}, follow=True))
    assert user.get(f"{page}/cases/{row['id']}").status_code == 404


def test_the_builder_says_which_case_a_save_breaks_and_saves_anyway(cast, api, audience, page):
    api("POST", f"audiences/{audience.public_id}/cases", CASE, status=201)
    user, fields = cast.browser("user"), fields_of(draft_form.of_definition(SHORTER))
    answer = user.post(f"{page}/builder", fields | {"act": "save"})
    assert "it breaks 1 test case Bought five days ago Broken" in words(answer)
    assert "no such event" in words(answer)
    assert audience.versions.count() == 1
    assert user.post(f"{page}/builder", fields | {"act": "anyway"}).status_code == 302
    assert audience.versions.count() == 2
    user.post(f"{page}/versions", {"restore": "1", "base": "2"})
    answer = user.post(f"{page}/versions", {"restore": "2", "base": "3"})
    assert (answer.status_code, "it breaks 1 test case" in words(answer)) == (422, True)
    assert user.post(f"{page}/versions", {"restore": "2", "base": "3", "act": "anyway"}).status_code == 302
    assert audience.versions.count() == 4


def test_a_computed_trait_has_cases_with_values(cast, api):
    counted = {"kind": "event_counter", "name": "Ordered", "within": {"days": 7}}
    trait = services.create_trait(cast.space, name="Orders", definition=counted, by=cast.people["user"])
    path = f"computed-traits/{trait.public_id}"
    made = api("POST", f"{path}/cases", {**CASE, "expected": 1}, status=201)["case"]
    assert (made["holds"], made["came"]) == (True, 1)
    assert api("POST", f"{path}/cases/run", {})["cases"] == [made]
    api("PATCH", path, {"definition": {**counted, "within": {"days": 2}}}, status=422)
    page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}/cases"
    user = cast.browser("user")
    answer = user.post(f"{page}/{made['id']}", form(expected="2"), follow=True)
    assert "Expected 2, and it is 1." in words(answer)
    api("DELETE", f"{path}/cases/{made['id']}")


def test_the_case_of_an_audience_of_accounts_is_about_an_account(cast, api):
    by = cast.people["user"]
    firms = services.create_audience(cast.space, name="Firms", definition=ORDERED, of="accounts", by=by)
    path = f"audiences/{firms.public_id}/cases"
    assert api("POST", path, {**CASE, "anonymous": True}, status=422)["field"] == "anonymous"
    page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}"
    user = cast.browser("user")
    shown = words(user.get(f"{page}/new"))
    assert ("What users of the account did" in shown, "anonymous id" in shown) == (True, False)
    assert "Bought five days ago As expected" in words(user.post(f"{page}/new", form(), follow=True))
    colleagues = {"all": [ORDERED, {"users": "all", "all": [ORDERED]}]}
    api("PATCH", f"audiences/{firms.public_id}", {"definition": colleagues}, status=422)
    services.change_audience(firms, definition=colleagues, despite_cases=True, by=by)
    why = "A test case is about one account alone, and the definition asks about people beside it."
    assert why in words(user.get(page))
    assert api("POST", path, CASE, status=409)["message"] == why
