"""The first owner, a forgotten password, one's own account, and how often somebody may try."""

import logging
import re

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from access import services
from access.models import AuditEntry, Membership, SignedIn, Token, User
from personas_site.logs import Secretless
from spaces.models import Workspace
from tests.cast import PASSWORD
from tests.factories import UserFactory, WorkspaceFactory

pytestmark = pytest.mark.django_db
NEW = "a wholly other password"
FORM = {"email": "Ada@Example.com", "name": "Ada", "password": PASSWORD, "workspace": "Northwind"}


@pytest.fixture
def ada():
    user = UserFactory(email="ada@example.com")
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def counted(settings):
    settings.RATELIMIT_ENABLE = True
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()


def sign_in(client=None, password=PASSWORD, username="ada@example.com"):
    client = client or Client()
    client.answer = client.post("/sign-in", {"username": username, "password": password})
    return client


def is_in(client):
    return client.get("/account").status_code == 200


class TestTheFirstOwner:
    def test_is_whoever_has_the_link(self):
        link = f"/welcome/{services.new_secret()}"
        assert "Nobody has an account yet" in Client().get("/sign-in").content.decode()
        browser = Client()
        assert browser.get(link).status_code == 200
        assert browser.post(link, FORM).headers["Location"] == f"/w/{Workspace.objects.get().slug}/"
        membership = Membership.objects.get()
        assert (membership.role, membership.user.email) == ("owner", "ada@example.com")
        assert is_in(browser)
        assert "Nobody has an account yet" not in Client().get("/sign-in").content.decode()

    def test_is_one(self):
        link = f"/welcome/{services.new_secret()}"
        Client().post(link, FORM)
        for answer in (Client().get(link), Client().post(link, FORM | {"email": "eve@example.com"})):
            assert answer.status_code == 410
        assert User.objects.count() == 1

    @pytest.mark.parametrize("secret", ["x", "IiI:1wQ:AAAA", "a" * 200])
    def test_is_nobody_with_a_made_up_link(self, secret):
        assert Client().post(f"/welcome/{secret}", FORM).status_code == 410
        assert not User.objects.exists()

    def test_is_not_made_by_a_link_of_a_week_ago(self, monkeypatch):
        monkeypatch.setattr("django.core.signing.time.time", lambda: 1_700_000_000)
        secret = services.new_secret()
        monkeypatch.undo()
        assert Client().get(f"/welcome/{secret}").status_code == 410

    @pytest.mark.parametrize(
        "wrong", [{"password": "short"}, {"email": "no address"}, {"name": ""}, {"workspace": "x" * 101}]
    )
    def test_is_told_what_is_wrong(self, wrong):
        answer = Client().post(f"/welcome/{services.new_secret()}", FORM | wrong)
        assert answer.status_code == 422
        assert not User.objects.exists()


class TestAForgottenPassword:
    def ask(self, email="ada@example.com"):
        assert Client().post("/password", {"email": email}).headers["Location"] == "/password/sent"
        found = [re.search(r"http://testserver(\S+)", message.body) for message in mail.outbox]
        return [match.group(1) for match in found if match]

    def test_is_made_new_by_a_link_that_works_once_and_ends_all_that_was(self, ada):
        workspace = WorkspaceFactory()
        Membership.objects.create(workspace=workspace, user=ada, role="owner")
        services.create_token(workspace, ada, name="script", by=ada)
        before = sign_in()
        (link,) = self.ask()
        browser = Client()
        page = browser.get(link, follow=True)
        there = page.redirect_chain[-1][0]
        both = {"new_password1": NEW, "new_password2": NEW}
        assert browser.post(there, both).headers["Location"] == "/sign-in"
        assert not is_in(before)
        assert not Token.objects.filter(revoked_at=None).exists()
        assert is_in(sign_in(password=NEW))
        assert not is_in(sign_in())
        assert "no longer works" in Client().get(link, follow=True).content.decode()
        assert AuditEntry.objects.filter(workspace=workspace, action="password.changed").count() == 1

    def test_is_told_to_nobody_but_the_mailbox(self, ada):
        assert self.ask("nobody@example.com") == []
        assert len(self.ask()) == 1

    def test_is_asked_for_only_so_often(self, ada, counted):
        for _ in range(5):
            assert Client().post("/password", {"email": "ada@example.com"}).status_code == 302
        assert Client().post("/password", {"email": "ADA@example.com"}).status_code == 429
        assert len(mail.outbox) == 5


class TestOnesOwnAccount:
    def test_lists_the_sessions_and_ends_one(self, ada):
        here, there = sign_in(), sign_in(Client(headers={"user-agent": "Phone"}))
        page = here.get("/account").content.decode()
        assert "Phone" in page
        other = SignedIn.objects.get(agent="Phone")
        assert here.post("/account", {"end": other.pk}).status_code == 302
        assert not is_in(there)
        assert is_in(here)

    def test_ends_no_session_of_somebody_else(self, ada):
        eve = UserFactory(email="eve@example.com")
        eve.set_password(PASSWORD)
        eve.save()
        hers = sign_in(username="eve@example.com")
        assert sign_in().post("/account", {"end": SignedIn.objects.get(user=eve).pk}).status_code == 404
        assert is_in(hers)

    @pytest.mark.parametrize("end", ["x", "", "-1", "9" * 30])
    def test_takes_no_nonsense(self, ada, end):
        assert sign_in().post("/account", {"end": end}).status_code == 404

    def test_changes_the_password_and_ends_the_other_sessions(self, ada):
        here, there = sign_in(), sign_in()
        form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
        assert here.post("/account", form | {"old_password": "wrong"}).status_code == 422
        assert is_in(there)
        assert here.post("/account", form).status_code == 302
        assert is_in(here)
        assert not is_in(there)

    def test_signing_in_leaves_an_audit_entry_with_the_address(self, ada):
        workspace = WorkspaceFactory()
        Membership.objects.create(workspace=workspace, user=ada, role="member")
        sign_in()
        entry = AuditEntry.objects.get(workspace=workspace, action="signed.in")
        assert (entry.actor, entry.address) == (ada, "127.0.0.1")


class TestGuesses:
    def test_of_one_account_end_after_ten_whoever_makes_them(self, ada, counted):
        for number in range(10):
            assert sign_in(password=f"guess {number}").answer.status_code == 200
        refused = sign_in().answer
        assert refused.status_code == 429
        assert "Too many tries" in refused.content.decode()

    def test_of_many_accounts_from_one_address_end_after_fifty(self, ada, counted):
        for number in range(50):
            assert sign_in(username=f"user-{number}@example.com").answer.status_code == 200
        assert sign_in().answer.status_code == 429

    def test_do_not_count_when_they_are_right(self, ada, counted):
        for _ in range(12):
            assert is_in(sign_in())


def test_the_log_has_no_link_that_lets_somebody_in():
    record = logging.LogRecord("x", 30, "", 0, "Gone: %s", ("/invitations/s3cret-key",), None)
    assert Secretless().filter(record)
    assert record.getMessage() == "Gone: /invitations/…"
    record = logging.LogRecord("x", 30, "", 0, "GET /password/MQ/abc-123 failed", (), None)
    Secretless().filter(record)
    assert record.getMessage() == "GET /password/MQ/… failed"
