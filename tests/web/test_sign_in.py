"""Signing in and out: nobody is led away, told too much, or left in somebody else's session."""

import re

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password
from django.core import mail
from django.test import Client

from access import services
from access.models import User
from access.services import Invited, NotPossible
from audiences.models import Audience
from destinations.models import Destination
from personas_site import settings as product
from sources.models import Source
from spaces.models import Space
from tests.cast import PASSWORD
from tests.factories import UserFactory
from tests.factories_identity import IdentifierFactory, ProfileFactory
from tests.routes import pages
from tests.sample_rows import belongings

pytestmark = pytest.mark.django_db

AWAY = (
    "https://example.com/",
    "//example.com",
    "///example.com",
    "/\\example.com",
    "\\\\example.com",
    "http:example.com",
    "https:///example.com",
    "javascript:alert(1)",
    "data:text/html,x",
    " //example.com",
    "\t//example.com",
    "/\t/example.com",
    "//testserver@example.com",
    "http://testserver.example.com/",
    "\r\nLocation: https://example.com",
)
MARKUP = "<img src=x onerror=alert(1)>'\"{{ 7|add:7 }}"


@pytest.fixture(autouse=True)
def the_hashers_of_the_product(settings):
    settings.PASSWORD_HASHERS = product.PASSWORD_HASHERS


@pytest.fixture
def ada():
    user = UserFactory(email="ada@example.com")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client=None, password=PASSWORD, username="ada@example.com", **more):
    return (client or Client()).post("/sign-in", {"username": username, "password": password} | more)


@pytest.mark.parametrize("there", AWAY)
def test_no_next_leads_away(ada, there):
    for answer in (
        sign_in(next=there),
        Client().post("/theme", {"theme": "dark", "next": there}),
    ):
        assert re.fullmatch(r"/[^/\\\s]*", answer.headers["Location"]), answer.headers["Location"]


def test_no_next_in_the_address_leads_away_who_is_signed_in_already(cast):
    for there in AWAY:
        answer = cast.browser("owner").get("/sign-in", {"next": there})
        assert answer.headers["Location"] == "/", there


def test_the_session_from_before_is_worth_nothing_after(ada):
    """Fixation: whoever planted a session id in a browser does not get the session that is made by signing in."""
    browser = Client()
    session = browser.session
    session["planted"] = "yes"
    session.save()
    before = browser.cookies["sessionid"].value
    assert sign_in(browser).status_code == 302
    assert browser.cookies["sessionid"].value != before
    planted = Client()
    planted.cookies["sessionid"] = before
    assert planted.get("/").status_code == 302


def test_signing_out_ends_the_session_on_the_server(ada):
    browser = Client()
    sign_in(browser)
    kept = browser.cookies["sessionid"].value
    browser.post("/sign-out")
    again = Client()
    again.cookies["sessionid"] = kept
    assert again.get("/").status_code == 302


def test_a_new_password_ends_every_session(ada):
    browser = Client()
    sign_in(browser)
    ada.set_password("another quite unlikely phrase")
    ada.save()
    assert browser.get("/").status_code == 302


def test_somebody_switched_off_is_out_at_once_and_told_nothing_special(ada):
    browser = Client()
    sign_in(browser)
    User.objects.update(is_active=False)
    assert browser.get("/").status_code == 302
    page = sign_in().content.decode()
    assert "No account has this e-mail address and password." in page


def test_every_wrong_try_costs_the_same_work(ada, monkeypatch):
    """An address that nobody has is hashed like one that somebody has, so that time does not tell them apart."""
    hashed = []
    encode, verify = Argon2PasswordHasher.encode, Argon2PasswordHasher.verify
    monkeypatch.setattr(
        Argon2PasswordHasher, "encode", lambda self, password, salt: hashed.append(1) or encode(self, password, salt)
    )
    monkeypatch.setattr(
        Argon2PasswordHasher, "verify", lambda self, password, held: hashed.append(1) or verify(self, password, held)
    )
    costs = []
    for name in ("ada@example.com", "nobody@example.com"):
        hashed.clear()
        assert sign_in(username=name, password="wrong").status_code == 200
        costs.append(len(hashed))
    assert costs == [1, 1]


def test_a_password_is_kept_as_a_slow_hash(ada):
    assert ada.password.startswith("argon2$")
    assert check_password(PASSWORD, ada.password)


def test_no_form_is_taken_from_another_site(cast):
    """Every page that takes a POST, without the token of its form."""
    ids = belongings(cast.space) | {"secret": "x", "route": "batch"}
    tried = 0
    for route in pages():
        if "POST" not in route.methods and route.name != "theme":
            continue
        if not route.name or route.name == "collect":
            continue
        tried += 1
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(cast.people["owner"], backend="django.contrib.auth.backends.ModelBackend")
        assert browser.post(route.url(ids)).status_code == 403, route.name
    assert tried >= 4


def test_the_cookies_are_out_of_reach_of_scripts_and_other_sites(ada):
    browser = Client()
    sign_in(browser)
    session = browser.cookies["sessionid"]
    assert session["httponly"]
    assert session["samesite"] == "Lax"


def test_no_answer_is_kept_by_a_cache_or_tells_another_site_where_one_was(cast):
    for path in ("/", "/sign-in", "/invitations/x", "/api/workspace", f"/w/{cast.workspace.slug}/"):
        headers = cast.browser("owner").get(path).headers
        assert "no-store" in headers["Cache-Control"], path
        assert headers["Referrer-Policy"] == "same-origin", path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["X-Frame-Options"] == "DENY", path


def test_names_are_shown_as_text_on_every_page(cast):
    cast.workspace.name = cast.space.name = MARKUP
    cast.workspace.save()
    Space.objects.update(name=MARKUP)
    User.objects.update(name=MARKUP)
    person = ProfileFactory(space=cast.space, number=1, traits={"name": MARKUP, "email": MARKUP})
    IdentifierFactory(space=cast.space, profile=person.number, type="user_id", value=MARKUP)
    ids = belongings(cast.space)
    for model in (Source, Audience, Destination):
        model.objects.update(name=MARKUP)
    ids |= {"profile": person.public_id, "secret": "x", "route": "batch"}
    seen = 0
    for route in pages():
        if route.name and route.name not in ("collect", "sign-out", "theme", "livez", "readyz", "metrics"):
            page = b"".join(cast.browser("owner").get(route.url(ids))).decode()  # a CSV is streamed
            assert "<img src=x" not in page, route.name
            assert "}14" not in page, route.name
            seen += "&lt;img src=x" in page
    assert seen >= 8


@pytest.mark.parametrize("length", [255, 10_000])
def test_a_name_too_long_is_an_error_of_the_form(length):
    cast_owner = UserFactory()
    workspace = services.create_workspace("W", owner=cast_owner)
    [invitation] = services.invite(workspace, [Invited("new@example.com")], by=cast_owner, origin="http://testserver")
    link = re.search(r"http://[^/]+(/invitations/\S+)", mail.outbox[-1].body).group(1)
    answer = Client().post(link, {"name": "x" * length, "password": "a quite unlikely phrase 42"})
    assert answer.status_code == 422
    assert not User.objects.filter(email="new@example.com").exists()
    assert invitation.accepted_at is None


def test_an_address_too_long_to_be_kept_is_an_error_with_its_path(cast):
    address = "a" * 60 + "@" + ".".join(["b" * 60] * 4) + ".example"
    answer = cast.call("owner", "POST", "/api/invites", {"invites": [{"email": address}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "invites[0].email"


def test_the_last_owner_stays(cast):
    owner = cast.people["owner"].memberships.get(workspace=cast.workspace)
    with pytest.raises(NotPossible, match="needs an owner"):
        services.remove_member(owner, by=services.COMMAND)
    with pytest.raises(NotPossible, match="needs an owner"):
        services.change_role(owner, "member", by=services.COMMAND)
    assert cast.call("owner", "GET", "/api/workspace").json()["data"]["you"]["role"] == "owner"
