"""Trying other identity rules and applying them, by REST and on pages."""

import pytest

from access.models import AuditEntry
from identity import dry_runs
from identity.models import DryRun, Profile
from identity.rules.policy import DEFAULT_POLICY
from spaces.clock import FixedClock
from tests.factories import SourceFactory
from tests.factories_identity import NOON, archived, listening, message, resolved

pytestmark = pytest.mark.django_db
STRICT = DEFAULT_POLICY.to_json() | {"max_mappings": 2}
SETTINGS = "/w/{}/s/{}/settings/identity"


@pytest.fixture
def shop(cast):
    """Ann, with a tablet and a phone."""
    source = SourceFactory(workspace=cast.workspace)
    listening(cast.space, source)
    archived(
        source,
        message(userId="ann", anonymousId="tablet"),
        message(anonymousId="phone"),
        message(userId="ann", anonymousId="phone"),
    )
    resolved(cast.space)
    return cast


def call(cast, method, rest="", body=None, *, who="admin", status=200):
    answer = cast.call(who, method, f"/api/spaces/{cast.space.public_id}/identity-rules/dry-runs{rest}", body)
    assert answer.status_code == status, answer.content
    return answer.json().get("data") or answer.json()["errors"][0]


def alive():
    return Profile.objects.filter(merged_into=None)


def worked_out():
    dry_runs.run(DryRun.objects.latest("pk").pk, FixedClock(NOON))


def test_rules_are_tried_looked_at_and_applied_by_rest(shop):
    started = call(shop, "POST", body={"identityRules": STRICT}, status=202)["dryRun"]
    assert (started["state"], started["figures"]) == ("waiting", None)
    assert started["changes"] == ["A profile holds at most 2 identifiers instead of 1000."]
    refused = call(shop, "POST", body={"identityRules": None}, status=409)
    assert "wait for them, or cancel that first" in refused["message"]
    worked_out()
    done = call(shop, "GET", f"/{started['id']}")
    (ann,) = alive().values_list("public_id", flat=True)
    assert {name: done["dryRun"]["figures"][name] for name in ("before", "after", "split", "toMove")} == {
        "before": 1,
        "after": 2,
        "split": 1,
        "toMove": 1,
    }
    (sample,) = done["samples"]
    assert [len(profile["identifiers"]) for profile in sample["now"]] == [3]
    assert sorted(len(profile["identifiers"]) for profile in sample["after"]) == [1, 2]
    assert {id for profile in sample["after"] for id in profile["profileIds"]} == {ann}
    assert alive().count() == 1
    assert call(shop, "POST", f"/{started['id']}/apply", status=202)["dryRun"]["state"] == "applying"
    worked_out()
    resolved(shop.space)
    applied = call(shop, "GET", f"/{started['id']}")
    assert (applied["dryRun"]["state"], applied["samples"]) == ("applied", [])
    assert alive().count() == 2
    assert "over already" in call(shop, "DELETE", f"/{started['id']}", status=409)["message"]
    assert "dry run is done" in call(shop, "POST", f"/{started['id']}/apply", status=409)["message"]
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert [action for action in actions if "rules" in action] == [
        "space.identity_rules_tried",
        "space.identity_rules_changed",
        "space.identity_rules_applied",
    ]


def test_what_was_tried_against_other_rules_is_not_applied(shop):
    first = call(shop, "POST", body={"identityRules": STRICT}, status=202)["dryRun"]["id"]
    worked_out()
    shop.call("admin", "PUT", f"/api/spaces/{shop.space.public_id}/identity-rules", {"identityRules": STRICT})
    assert "have changed since" in call(shop, "POST", f"/{first}/apply", status=409)["message"]


def test_who_may_only_look_tries_and_applies_nothing(shop):
    call(shop, "POST", body={"identityRules": STRICT}, who="read_only", status=403)
    id = call(shop, "POST", body={"identityRules": STRICT}, status=202)["dryRun"]["id"]
    assert call(shop, "GET", f"/{id}", who="read_only")["dryRun"]["id"] == id
    call(shop, "POST", f"/{id}/apply", who="read_only", status=403)
    call(shop, "DELETE", f"/{id}", who="read_only", status=403)
    assert call(shop, "DELETE", f"/{id}", status=202)["dryRun"]["state"] == "cancelled"


def test_other_workspaces_find_none_of_it(shop):
    id = call(shop, "POST", body={"identityRules": STRICT}, status=202)["dryRun"]["id"]
    for method, rest in (("GET", ""), ("GET", f"/{id}"), ("POST", f"/{id}/apply"), ("DELETE", f"/{id}")):
        call(shop, method, rest, who="stranger", status=404)
    assert DryRun.objects.get().state == "waiting"


def test_the_form_tries_rules_and_the_page_applies_or_saves_them(shop):
    browser, here = shop.browser("admin"), SETTINGS.format(shop.workspace.slug, shop.space.slug)
    fields = browser.get(here, {"edit": 1}).context["form"]
    entries = {name: field.initial for name, field in fields.fields.items()} | {"count-anonymous_id": 1, "try": "1"}
    answer = browser.post(here, entries)
    page = browser.get(answer.url).content.decode()
    assert "anonymous_id: the limit is 1 ever instead of 5 ever." in page
    assert 'hx-trigger="every 2s"' in page
    shop.space.refresh_from_db()
    assert shop.space.identity_policy is None
    worked_out()
    done = browser.get(answer.url).content.decode()
    assert "Apply to everybody" in done
    assert "tablet" in done
    assert 'hx-trigger="every 2s"' not in done
    assert answer.url in browser.get(here).content.decode()
    browser.post(answer.url, {"apply": "1"})
    worked_out()
    resolved(shop.space)
    assert alive().count() == 2
    assert "Applied" in browser.get(answer.url).content.decode()
    reset = browser.post(here, {"reset": "try"})
    worked_out()
    assert browser.post(reset.url, {"save": "1"}).url == here
    shop.space.refresh_from_db()
    assert shop.space.identity_policy is None
    assert alive().count() == 2
