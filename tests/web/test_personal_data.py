"""Who has no right to personal data sees none, on whatever page and by whatever route; and who has it sees it."""

import json
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from access import queries, roles, services
from access.services import COMMAND
from audiences.models import Change
from identity.models import Identifier, Profile
from tests.cast import PASSWORD
from tests.factories import MembershipFactory
from tests.routes import api_routes, pages

pytestmark = pytest.mark.django_db

NOBODY = "nobody@northwind.example"
TABS = ("?tab=events", "?tab=events&view=raw", "?tab=identities", "?tab=merges")


def personal(room):
    """Names, e-mail addresses and telephone numbers of people in the space: as messages brought them."""
    emails = set(Identifier.objects.filter(space=room.dev, type="email").values_list("value", flat=True))
    names = {
        traits["name"]
        for traits in Profile.objects.filter(space=room.dev).values_list("traits", flat=True)
        if "name" in traits
    }
    assert len(emails) > 3
    assert len(names) > 3
    # The owner is one of the shop's customers, too, and colleagues may see who works with them.
    return emails | (names - {room.owner.name})


def colleague(room, role, *, sees=False):
    member = MembershipFactory(workspace=room.workspace, role=roles.MEMBER)
    services.grant(room.dev, member.user, role, personal=sees, by=COMMAND)
    return member.user


def asked(room, user):
    """(route, what it answers) of every page and route of the API, by GET and by what only looks."""
    browser = Client()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    _, secret = services.create_token(room.workspace, user, name="test", by=COMMAND)
    ids = room.ids | {"space_id": room.dev.public_id} | {f"{name}_id": value for name, value in room.ids.items()}
    change = Change.objects.filter(audience=room.audience).latest("pk")
    ids |= {"change_id": f"{change.tick}-{change.cause}", "space_id": room.dev.public_id}
    for route in pages():
        if "space" in route.kwargs and set(route.kwargs) <= ids.keys():
            tabs = TABS if route.name == "profile" else ()
            for query in ("", "?format=csv", *tabs):
                yield f"{route.path}{query}", browser.get(route.url(ids) + query)
    for question in ("ada", "Ada", "b"):
        yield f"search {question}", browser.get(f"/w/{room.workspace.slug}/search?q={question}")
        url = f"/w/{room.workspace.slug}/s/{room.dev.slug}/profiles?q={question}"
        yield f"profiles {question}", browser.get(url)
    api = Client(headers={"authorization": f"Bearer {secret}"})
    for route in api_routes():
        if "space_id" in route.kwargs and "GET" in route.methods and set(route.kwargs) <= ids.keys():
            known = {"include": "identifiers,traits", "verbose": "true", "key": room.audience.key}
            for query in ("", *(f"?{name}={known[name]}" for name in known if name in route.asks())):
                yield f"{route.path}{query}", api.get(route.url(ids) + query)
    anybody = {"kind": "event", "name": "User Signed Up", "within": {"days": 365}}
    body = json.dumps({"definition": anybody, "sampleSize": 50})
    preview = f"/api/spaces/{room.dev.public_id}/audiences/previews"
    yield preview, api.post(preview, body, content_type="application/json")
    suggest = f"/w/{room.workspace.slug}/s/{room.dev.slug}/audiences/suggest"
    for name in ("email", "name", "phone"):
        yield f"suggest {name}", browser.get(f"{suggest}?of=trait-value&name={name}")


def said(answer):
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return body.decode(), answer.status_code


@pytest.mark.parametrize("role", ["read_only", "user"])
def test_whoever_has_no_right_to_it_sees_none(room, role):
    planted, leaks, answers = personal(room), set(), 0
    for where, answer in asked(room, colleague(room, role)):
        body, status = said(answer)
        answers += status == 200
        for value in planted:
            if value in body or quote(value) in body or json.dumps(value)[1:-1] in body:
                leaks.add((where, value))
    assert answers > 100
    assert not leaks, "\n".join(map(str, sorted(leaks)))


def test_whoever_has_the_right_by_itself_sees_it(room):
    planted = personal(room)
    seen = {
        where
        for where, answer in asked(room, colleague(room, "read_only", sees=True))
        if any(value in said(answer)[0] for value in planted)
    }
    for name in ("profiles", "profile", "api/spaces/<str:space_id>/profiles/<str:profile_id>", "search", "deliveries"):
        assert [where for where in seen if name in where], name


@pytest.mark.parametrize(("role", "sees", "status"), [("user", False, 403), ("user", True, 200), ("admin", False, 200)])
def test_people_are_downloaded_only_with_the_right(room, role, sees, status):
    browser = Client()
    browser.force_login(colleague(room, role, sees=sees), backend="django.contrib.auth.backends.ModelBackend")
    space = f"/w/{room.workspace.slug}/s/{room.dev.slug}"
    for url in (f"{space}/profiles?format=csv", f"{space}/audiences/{room.audience.public_id}/members.csv"):
        body, code = said(browser.get(url))
        assert code == status, url
        assert ("@" in body) == (status == 200)
    page = browser.get(f"{space}/audiences/{room.audience.public_id}").content.decode()
    assert ("members.csv" in page) == (status == 200)
    assert ("format=csv" in browser.get(f"{space}/profiles").content.decode()) == (status == 200)


def test_who_is_known_by_an_identifier_is_found_by_it_but_not_letter_by_letter(room):
    ada = Identifier.objects.filter(space=room.dev, type="email").order_by("pk").first()
    browser = Client()
    browser.force_login(colleague(room, "user"), backend="django.contrib.auth.backends.ModelBackend")
    profiles = f"/w/{room.workspace.slug}/s/{room.dev.slug}/profiles"
    assert "/profiles/use_" in browser.get(f"{profiles}?q={ada.value}").content.decode()
    assert "/profiles/use_" not in browser.get(f"{profiles}?q={ada.value[:4]}").content.decode()


def test_the_right_is_given_and_taken_on_the_page_of_a_person(room):
    user, browser = colleague(room, "user"), Client()
    browser.force_login(room.owner, backend="django.contrib.auth.backends.ModelBackend")
    url = reverse("access-person", args=[room.workspace.slug, user.public_id])
    member = user.memberships.get()
    roles_of = {"role": "member", f"in-{room.dev.public_id}": "user"}
    assert browser.post(url, roles_of | {f"sees-{room.dev.public_id}": "on"}).status_code == 302
    assert queries.open_to(member) == {room.dev.pk}
    assert f'name="sees-{room.dev.public_id}" class="form-check-input" id="id_sees-{room.dev.public_id}" checked' in (
        browser.get(url).content.decode()
    )
    assert browser.post(url, roles_of).status_code == 302
    assert queries.open_to(member) == set()
    services.grant(room.dev, user, "user", personal=True, by=COMMAND)
    services.revoke(room.dev, user, by=COMMAND)
    assert queries.open_to(member) == set()


def test_the_right_comes_with_an_invitation(room, mailoutbox):
    _, secret = services.create_token(room.workspace, room.owner, name="test", by=COMMAND)
    api = Client(headers={"authorization": f"Bearer {secret}"})
    grant = {"spaceId": room.dev.public_id, "role": "user", "personalData": True}
    body = json.dumps({"invites": [{"email": NOBODY, "grants": [grant]}]})
    made = api.post("/api/invites", body, content_type="application/json")
    assert made.status_code == 201, made.content
    assert made.json()["data"]["invites"][0]["grants"] == [grant]
    link = next(word for word in mailoutbox[-1].body.split() if word.startswith("http"))
    user = services.accept(link.rstrip("/").rpartition("/")[2], name="New", password=PASSWORD)
    assert queries.open_to(user.memberships.get()) == {room.dev.pk}
    users = api.get("/api/users").json()["data"]["users"]
    assert next(one for one in users if one["email"] == NOBODY)["grants"] == [grant]
