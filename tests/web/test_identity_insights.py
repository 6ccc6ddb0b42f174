"""What the evidence says about identity rules, and whose an identifier was, by REST and on pages."""

from datetime import timedelta

import pytest

from identity.models import Identifier, Profile
from tests.factories import SourceFactory
from tests.factories_identity import NOON, archived, listening, message, resolved

pytestmark = pytest.mark.django_db
DAY_MS = 86_400_000
MAILBOX = {"properties": {"email": "team@example.org"}}


@pytest.fixture
def office(cast, monkeypatch):
    """Four people with one mailbox, and a tablet that becomes the first one's."""
    monkeypatch.setattr("identity.api.insights.clock.now", lambda: NOON)
    source = SourceFactory(workspace=cast.workspace)
    listening(cast.space, source)
    archived(
        source,
        *(message(id=f"u{n}", at=-3 * DAY_MS, userId=f"u{n}", **MAILBOX) for n in range(4)),
        message(id="tablet", at=-4 * DAY_MS, anonymousId="tablet"),
        message(id="both", at=-DAY_MS, userId="u0", anonymousId="tablet"),
        message(anonymousId="visitor"),
    )
    resolved(cast.space)
    return cast


def get(cast, rest, *, who="admin", status=200):
    answer = cast.call(who, "GET", f"/api/spaces/{cast.space.public_id}/{rest}")
    assert answer.status_code == status, answer.content
    return answer.json().get("data") or answer.json()["errors"][0]


def id_of(number):
    return Profile.objects.get(number=number).public_id


def test_insights_name_what_breaks_rules_who_is_large_and_what_to_do(office):
    insights = get(office, "identity-insights")
    day = (NOON - timedelta(days=3)).date().isoformat()
    assert insights["violations"] == [{"kind": "value_limit", "days": [{"day": day, "count": 3}]}]
    assert insights["merges"] == [{"day": (NOON - timedelta(days=1)).date().isoformat(), "count": 1}]
    team = {"type": "email", "value": "team@example.org"}
    assert insights["hubs"] == [{"identifier": team, "sets": 3, "events": 3, "profileId": id_of(1)}]
    assert insights["largest"][0] == {"profileId": id_of(1), "identifiers": 3}
    assert {"type": "anonymous_id", "identifiers": 2, "alone": 1} in insights["types"]
    assert [(advice["block"], advice["limit"]) for advice in insights["recommendations"]] == [([team], None)]


def test_a_recommendation_opens_the_form_with_the_rule_filled_in(office):
    browser, here = office.browser("admin"), f"/w/{office.workspace.slug}/s/{office.space.slug}/settings/identity"
    page = browser.get(f"{here}/insights").content.decode()
    number = Identifier.objects.get(value="team@example.org").number
    assert f"{here}?edit=1&amp;block={number}" in page
    form = browser.get(here, {"edit": 1, "block": number})
    assert "email team@example.org is blocked in this form. Nothing is saved yet." in form.content.decode()
    assert form.context["form"].fields["values-email"].initial.splitlines()[-1] == "team@example.org"
    limited = browser.get(here, {"edit": 1, "limit": "anonymous_id:5:weekly"})
    assert limited.context["form"].fields["period-anonymous_id"].initial == "weekly"
    visitor = Identifier.objects.get(value="visitor").number
    everything = {"edit": 1, "block": [number, visitor], "limit": ["anonymous_id:5:weekly", "email:7:annually"]}
    form = browser.get(here, everything)
    assert "2 values of anonymous_id, email are blocked in this form." in form.content.decode()
    assert form.context["form"].fields["values-anonymous_id"].initial.splitlines()[-1] == "visitor"
    assert form.context["form"].fields["count-email"].initial == 7
    for nonsense in (
        {"block": "99999"},
        {"block": "x"},
        {"limit": "anonymous_id:0:weekly"},
        {"limit": "none:5:weekly"},
    ):
        assert "Nothing is saved yet" not in browser.get(here, {"edit": 1, **nonsense}).content.decode()
    office.space.refresh_from_db()
    assert office.space.identity_policy is None


def test_whoever_may_not_see_personal_data_sees_none_of_it_there(office):
    browser, here = office.browser("read_only"), f"/w/{office.workspace.slug}/s/{office.space.slug}/settings/identity"
    assert "team@example.org" not in browser.get(f"{here}/insights").content.decode()
    assert get(office, "identity-insights", who="read_only")["hubs"][0]["identifier"]["value"] != "team@example.org"


def test_who_had_an_identifier_at_a_moment_follows_from_its_event_and_the_merges(office):
    def owner(at):
        moment = (NOON + timedelta(days=at)).isoformat().replace("+00:00", "Z")
        return get(office, f"identifier-owner?identifier=anonymous_id:tablet&at={moment}")

    tablet = Profile.objects.get(merged_into=1).public_id
    assert owner(-5)["owner"] is None
    assert owner(-2)["owner"]["profileId"] == tablet
    assert owner(0)["owner"] | {"sourceId": None} == {
        "profileId": id_of(1),
        "since": (NOON - timedelta(days=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "until": None,
        "sourceId": None,
        "messageId": "both",
        "merged": True,
    }
    assert [period["profileId"] for period in owner(0)["history"]] == [tablet, id_of(1)]
    nobody = get(office, "identifier-owner?identifier=anonymous_id:none")
    assert nobody == {"owner": None, "history": []}
    assert get(office, "identifier-owner?identifier=tablet", status=422)["field"] == "identifier"
    page = office.browser("admin").get(
        f"/w/{office.workspace.slug}/s/{office.space.slug}/identifier-owner",
        {"type": "anonymous_id", "value": "tablet", "at": "2026-06-13T12:00"},
    )
    assert page.context["owner"].profile_id == tablet


def test_other_workspaces_find_none_of_it(office):
    for rest in ("identity-insights", "identifier-owner?identifier=anonymous_id:tablet"):
        get(office, rest, who="stranger", status=404)
