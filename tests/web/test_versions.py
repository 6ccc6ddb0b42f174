"""The versions of audiences and computed traits: listed with what each changed, and restored."""

import pytest

from access.models import AuditEntry
from audiences import services
from audiences.models import Audience, ComputedTrait, Version
from tests.cast import words
from tests.factories_audiences import World

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1, "within": {"days": 30}}
LATELY = {**ORDERED, "within": {"days": 7}}
ORDERS = {"kind": "event_counter", "name": "Ordered"}


@pytest.fixture
def audience(cast):
    """Asked about 30 days once, and asks about 7 now."""
    audience = services.create_audience(cast.space, name="Buyers", definition=ORDERED, by=cast.people["user"])
    services.change_audience(audience, definition=LATELY, by=cast.people["user"])
    return audience


@pytest.fixture
def page(cast, audience):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{audience.public_id}/versions"


def test_versions_are_listed_newest_first_with_what_each_changed(audience, api):
    newest, first = api("GET", f"audiences/{audience.public_id}/versions", who="read_only")["versions"]
    assert (newest["number"], newest["state"], newest["serving"]) == (2, "computing", False)
    assert newest["sentence"] == 'People who performed "Ordered" at least once in the last 7 days.'
    assert newest["definition"]["within"] == {"days": 7}
    assert newest["changes"] == [
        {"kind": "same", "text": 'People who performed "Ordered" at least once in the last'},
        {"kind": "removed", "text": "30"},
        {"kind": "added", "text": "7"},
        {"kind": "same", "text": "days."},
    ]
    assert (first["number"], first["state"], first["changes"]) == (1, "replaced", [])


def test_a_page_of_versions_knows_the_one_before_its_last(audience, api):
    data = api("GET", f"audiences/{audience.public_id}/versions?pagination[count]=1")
    assert [part["kind"] for part in data["versions"][0]["changes"]] == ["same", "removed", "added", "same"]
    cursor = data["pagination"]["next"]
    (first,) = api("GET", f"audiences/{audience.public_id}/versions?pagination[cursor]={cursor}")["versions"]
    assert first["number"] == 1


def test_what_the_sentence_does_not_tell_apart_is_told_by_the_lines_of_the_definition(audience, api):
    Version.objects.filter(audience=audience).update(definition={"kind": "of another release", "n": 1})
    Version.objects.filter(audience=audience, number=2).update(definition={"kind": "of another release", "n": True})
    newest, _ = api("GET", f"audiences/{audience.public_id}/versions")["versions"]
    changed = [(part["kind"], part["text"].strip()) for part in newest["changes"] if part["kind"] != "same"]
    assert changed == [("removed", '"n": 1'), ("added", '"n": true')]


def test_a_restored_version_is_the_newest_and_the_audit_trail_says_so(audience, api):
    restored = api("POST", f"audiences/{audience.public_id}/versions/1/restore")["audience"]
    assert (restored["version"], restored["definition"]["within"]) == (3, {"days": 30})
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.detail["restored"]) == ("audience.changed", 1)
    again = api("POST", f"audiences/{audience.public_id}/versions/3/restore")["audience"]
    assert again["version"] == 3  # it has this definition already


def test_who_is_in_it_stays_until_the_restored_version_is_computed(cast):
    world = World(cast.space)
    world.did("u1", "Ordered")
    audience = world.audience("buyers", ORDERED)
    world.version(audience, {**ORDERED, "name": "Returned"})
    world.computed()
    assert world.members(audience) == set()
    services.restore_version(audience.versions.get(number=1), by=cast.people["user"])
    assert world.members(audience) == set()
    world.computed()
    assert world.members(audience) == {"u1"}


@pytest.mark.parametrize("number", ["0", "9", "-1", "1.0", "one", "٣", "9" * 10, "9" * 50])
def test_a_number_that_no_version_has_is_not_found(audience, api, number):
    api("POST", f"audiences/{audience.public_id}/versions/{number}/restore", status=404)
    assert Version.objects.filter(audience=audience).count() == 2


def test_what_asks_about_an_audience_that_is_gone_cannot_be_restored(cast, audience, api):
    other = services.create_audience(cast.space, name="Other", definition=ORDERED, by=cast.people["user"])
    for definition in ({"kind": "audience", "key": "other"}, LATELY):
        services.change_audience(audience, definition=definition, by=cast.people["user"])
    Audience.objects.filter(pk=other.pk).update(deleted_at=other.created_at)
    error = api("POST", f"audiences/{audience.public_id}/versions/3/restore", status=409)
    assert "other" in error["message"]


def test_only_whoever_may_use_the_space_restores(cast, audience, api, page):
    api("POST", f"audiences/{audience.public_id}/versions/1/restore", status=403, who="read_only")
    reader = cast.browser("read_only")
    assert "Restore" not in words(reader.get(page))
    assert reader.post(page, {"restore": "1"}).status_code == 403
    assert Version.objects.filter(audience=audience).count() == 2


def test_the_page_shows_the_difference_and_restores(cast, audience, page):
    user = cast.browser("user")
    shown = user.get(page).content.decode()
    assert "<del>30</del> <ins>7</ins>" in shown
    assert "The first one." in shown
    assert page in user.get(page.replace("versions", "settings")).content.decode()
    answer = user.post(page, {"restore": "1", "base": "2"}, follow=True)
    assert "Version 1 is restored" in words(answer)
    assert Version.objects.filter(audience=audience).latest("number").definition["within"] == {"days": 30}
    assert user.post(page, {"restore": "99"}).status_code == 404


def test_whoever_restores_after_somebody_else_saved_is_told_first(cast, audience, page):
    services.change_audience(audience, definition={**ORDERED, "atLeast": 5}, by=cast.people["admin"])
    answer = cast.browser("user").post(page, {"restore": "1", "base": "2"})
    assert answer.status_code == 422
    assert "Meanwhile somebody saved version 3" in words(answer)
    assert Version.objects.filter(audience=audience).count() == 3
    assert answer.context["base"] == 3


def test_a_computed_trait_has_versions_too(cast, api):
    trait = services.create_trait(cast.space, name="Orders", definition=ORDERS, by=cast.people["user"])
    services.change_audience(trait, definition={**ORDERS, "within": {"days": 7}}, by=cast.people["user"])
    newest, _ = api("GET", f"computed-traits/{trait.public_id}/versions")["versions"]
    assert [part["text"] for part in newest["changes"] if part["kind"] == "added"] == ['"Ordered" in the last 7 days.']
    restored = api("POST", f"computed-traits/{trait.public_id}/versions/1/restore")["computedTrait"]
    assert (restored["version"], "within" in restored["definition"]) == (3, False)
    page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/computed-traits/{trait.public_id}/versions"
    assert cast.browser("user").post(page, {"restore": "2", "base": "3"}).status_code == 302
    assert ComputedTrait.objects.get().versions.latest("number").definition["within"] == {"days": 7}
