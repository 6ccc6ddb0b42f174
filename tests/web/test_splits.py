"""Splitting a profile and undoing it, by REST and on pages."""

from urllib.parse import parse_qs, urlsplit

import pytest

from access.models import AuditEntry
from access.services import COMMAND
from destinations import services
from identity.models import Identifier, Profile, ProfileSplit
from sources.models import Source
from tests.factories import SourceFactory
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.factories_identity import archived, listening, message, resolved

pytestmark = pytest.mark.django_db
TABLET, ANN = {"type": "anonymous_id", "value": "tablet"}, {"type": "user_id", "value": "ann"}


@pytest.fixture
def merged(cast):
    """Ann, into whom somebody's tablet was merged. The ids of both profiles."""
    source = SourceFactory(workspace=cast.workspace)
    listening(cast.space, source)
    archived(
        source,
        message("identify", userId="ann", traits={"name": "Ann"}),
        message("identify", anonymousId="tablet", traits={"name": "Bob"}),
        message(userId="ann", anonymousId="tablet"),
    )
    resolved(cast.space)
    return tuple(Profile.objects.order_by("number").values_list("public_id", flat=True))


def call(cast, method, rest, body=None, *, who="admin", status=200):
    answer = cast.call(who, method, f"/api/spaces/{cast.space.public_id}/{rest}", body)
    assert answer.status_code == status, answer.content
    return answer.json().get("data") or answer.json()["errors"][0]


def alive():
    rows = Profile.objects.filter(merged_into=None).order_by("number")
    return [(row.public_id, row.traits["name"]) for row in rows]


def test_a_merge_is_previewed_undone_and_made_again(cast, merged):
    ann, bob = merged
    body = {"profileId": ann, "mergedId": bob}
    preview = call(cast, "POST", "splits/preview", body)
    assert preview["audiences"] == []
    assert preview["profiles"] == [
        {"profileId": ann, "identifiers": [ANN], "traits": {"name": "Ann"}, "events": 2},
        {"profileId": bob, "identifiers": [TABLET], "traits": {"name": "Bob"}, "events": 1},
    ]
    assert alive() == [(ann, "Bob")]
    split = call(cast, "POST", "splits", body, status=202)["split"]
    assert (split["profileId"], split["state"], split["taken"], split["left"]) == (ann, "wanted", [TABLET], [ANN])
    resolved(cast.space)
    assert call(cast, "GET", f"splits/{split['id']}")["split"]["state"] == "done"
    assert alive() == [(ann, "Ann"), (bob, "Bob")]
    assert call(cast, "DELETE", f"splits/{split['id']}", status=202)["split"]["state"] == "unwanted"
    assert "Only a split that is done" in call(cast, "DELETE", f"splits/{split['id']}", status=409)["message"]
    resolved(cast.space)
    assert [row["state"] for row in call(cast, "GET", "splits")["splits"]] == ["undone"]
    assert alive() == [(ann, "Bob")]
    assert call(cast, "GET", f"profiles/{bob}")["profile"]["id"] == ann
    entries = AuditEntry.objects.order_by("id").filter(action__startswith="profile.")
    assert [(entry.action, entry.target) for entry in entries] == [
        ("profile.split", ann),
        ("profile.split_undone", ann),
    ]
    assert not any("tablet" in str(entry.detail) for entry in entries)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"identifiers": []}, 409, "Choose one identifier at least, and leave one."),
        ({"identifiers": [ANN, TABLET]}, 409, "Choose one identifier at least, and leave one."),
        ({"identifiers": [{"type": "email", "value": "x"}]}, 409, "email x is no identifier of this profile."),
        ({}, 422, "Give either the identifiers or the id of a merged profile."),
        ({"identifiers": [ANN], "mergedId": "x"}, 422, "Give either the identifiers or the id of a merged profile."),
        ({"mergedId": "use_none"}, 422, "No such profile was merged into it."),
        ({"profileId": "use_none", "identifiers": [ANN]}, 422, "There is no such profile."),
    ],
)
def test_what_cannot_be_split_is_refused_in_words(cast, merged, body, status, message):
    for route in ("splits", "splits/preview"):
        error = call(cast, "POST", route, {"profileId": merged[0], **body}, status=status)
        assert error["message"] == message
    assert not ProfileSplit.objects.exists()


@pytest.fixture
def cat(cast, merged):
    """Somebody else, by their public id."""
    archived(Source.objects.get(), message("identify", userId="cat", traits={"name": "Cat"}))
    resolved(cast.space)
    return Profile.objects.get(number=3).public_id


def test_an_identifier_is_moved_to_somebody_and_back(cast, merged, cat):
    ann, bob = merged
    body = {"profileId": ann, "identifiers": [TABLET], "toId": cat}
    preview = call(cast, "POST", "splits/preview", body)["profiles"]
    assert [(part["identifiers"], part["events"]) for part in preview] == [
        ([ANN], 2),
        ([TABLET, {"type": "user_id", "value": "cat"}], 2),
    ]
    split = call(cast, "POST", "splits", body, status=202)["split"]
    assert split["movedTo"] == {"type": "user_id", "value": "cat"}
    resolved(cast.space)
    assert [name for _, name in alive()] == ["Ann", "Cat"]
    assert (
        call(cast, "GET", f"profiles/{cat}")["profile"]["id"] == call(cast, "GET", f"profiles/{bob}")["profile"]["id"]
    )
    call(cast, "DELETE", f"splits/{split['id']}", status=202)
    resolved(cast.space)
    assert alive() == [(ann, "Bob"), (cat, "Cat")]
    moved = AuditEntry.objects.get(action="profile.identifiers_moved")
    assert (moved.target, moved.detail["to"]) == (ann, cat)


def test_the_preview_says_what_it_means_for_audiences_and_destinations(cast):
    world = World(cast.space)
    world.sent(
        message(userId="ann", event="Ordered"),
        message("identify", anonymousId="tablet", traits={"email": "bob@example.org"}),
        message(userId="ann", anonymousId="tablet"),
    )
    buyers = world.audience("buyers", {"kind": "event", "name": "Ordered"})
    world.computed()
    destination = make_destination(cast.space)
    subscription = services.subscribe(buyers, destination, options={}, by=COMMAND)
    ann = Profile.objects.get(number=1).public_id
    bob = {"type": "email", "value": "bob@example.org"}
    preview = call(cast, "POST", "splits/preview", {"profileId": ann, "identifiers": [TABLET, bob]})
    told = {"subscriptionId": subscription.public_id, "destination": destination.name, "enter": [], "leave": [bob]}
    effect = {"audienceId": buyers.public_id, "name": "buyers", "now": [ann], "after": [0], "why": None}
    assert preview["audiences"] == [effect | {"destinations": [told | {"why": None}]}]
    numbers = Identifier.objects.filter(type__in=("anonymous_id", "email")).values_list("number", flat=True)
    here = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{ann}/split"
    page = cast.browser("admin").get(here, {"take": [*numbers]}).content.decode()
    assert "email: bob@example.org" in page
    assert "Destinations are told" in page


def test_what_the_rules_forbid_is_not_moved_and_the_words_say_why(cast, merged, cat):
    ann, _ = merged
    for route in ("splits", "splits/preview"):
        body = {"profileId": ann, "identifiers": [ANN], "toId": cat}
        message = call(cast, "POST", route, body, status=409)["message"]
        assert message == "user_id ann cannot be theirs: user_id allows 1 ever."
        body = {"profileId": ann, "identifiers": [ANN], "toId": ann}
        assert "another person" in call(cast, "POST", route, body, status=409)["message"]
        assert call(cast, "POST", route, body | {"toId": "use_none"}, status=422)["field"] == "toId"
    assert not ProfileSplit.objects.exists()


def test_the_page_moves_an_identifier_to_whoever_is_named(cast, merged, cat):
    browser, here = cast.browser("admin"), f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{merged[0]}"
    number = Identifier.objects.get(value="tablet").number
    assert b"nobody&#x27;s" in browser.get(f"{here}/split", {"take": number, "to": "dog"}).content
    page = browser.get(f"{here}/split", {"take": number, "to": "cat"})
    assert [part.name for part in page.context["parts"]] == ["Ann", "Cat"]
    assert f'name="to" value="{cat}"' in page.content.decode()
    answer = browser.post(f"{here}/split", {"take": number, "to": cat})
    assert "About to be moved" in browser.get(answer.url).content.decode()
    resolved(cast.space)
    done = browser.get(answer.url).content.decode()
    assert "Move back" in done
    assert "user_id: cat" in done


def test_who_may_only_look_splits_nothing(cast, merged):
    call(cast, "POST", "splits", {"profileId": merged[0], "identifiers": [TABLET]}, who="read_only", status=403)
    page = cast.browser("read_only").get(
        f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{merged[0]}?tab=identities"
    )
    assert b"Split this profile" not in page.content


def test_the_page_ticks_what_came_with_a_merge_shows_what_it_comes_to_and_does_it(cast, merged):
    ann, bob = merged
    browser, here = cast.browser("admin"), f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{ann}"
    assert f"{here}/split?merge={bob}" in browser.get(f"{here}?tab=merges").content.decode()
    page = browser.get(f"{here}/split", {"merge": bob})
    number = Identifier.objects.get(value="tablet").number
    assert page.context["taken"] == [number]
    assert [(part.name, part.profile, part.events) for part in page.context["parts"]] == [
        ("Ann", ann, 2),
        ("Bob", bob, 1),
    ]
    answer = browser.post(f"{here}/split", {"take": number})
    assert parse_qs(urlsplit(answer.url).query) == {"tab": ["identities"]}
    waiting = browser.get(answer.url).content.decode()
    assert "About to be split" in waiting
    assert 'hx-trigger="every 2s"' in waiting
    resolved(cast.space)
    done = browser.get(answer.url).content.decode()
    assert "Undo the split" in done
    assert 'hx-trigger="every 2s"' not in done
    undo = {"undo": ProfileSplit.objects.get().public_id}
    browser.post(f"{here}/split", undo)
    again = browser.post(f"{here}/split", undo, follow=True).content.decode()  # a double click
    assert "Only a split that is done can be undone." in again
    resolved(cast.space)
    assert alive() == [(ann, "Bob")]


def test_the_page_says_what_is_wrong(cast, merged):
    browser, here = cast.browser("admin"), f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{merged[0]}"
    for answer, status in (
        (browser.get(f"{here}/split", {"preview": "1"}), 200),
        (browser.post(f"{here}/split", {"take": "999"}), 422),
    ):
        assert answer.status_code == status
        assert "Choose one identifier at least, and leave one." in answer.content.decode()
