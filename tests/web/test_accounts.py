"""The first owner, a forgotten password, one's own account, and how often somebody may try."""

import logging
import re
import smtplib

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from access import queries, services
from access.models import AuditEntry, Membership, SignedIn, Token, User
from personas_site import env
from personas_site.logs import Secretless
from spaces.models import Workspace
from tests.cast import PASSWORD
from tests.factories import UserFactory, WorkspaceFactory
from tests.sample_rows import belongings

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
        assert [row["here"] for row in here.get("/account").context["sessions"]] == [True]
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


class TestTheAuditTrail:
    def test_says_who_did_what_from_where_and_who_took_data_out(self, cast):
        browser = cast.browser("owner")
        browser.get(f"/w/{cast.workspace.slug}/settings/access-management?format=csv")
        page = f"/w/{cast.workspace.slug}/settings/audit"
        text = browser.get(page).content.decode()
        for part in ("Exported", "Signed in", cast.people["owner"].name, "127.0.0.1"):
            assert part in text, part
        assert "Exported" not in browser.get(page, {"q": "no such action"}).content.decode()
        rows = b"".join(browser.get(page, {"format": "csv"}).streaming_content).decode().splitlines()
        assert rows[0] == "at,who,token,address,action,target,detail"
        assert any(",exported," in row for row in rows)

    def test_says_who_took_the_members_of_an_audience_and_not_who_only_asked_a_page_for_csv(self, cast):
        ids, browser = belongings(cast.space), cast.browser("owner")
        place = f"/w/{cast.workspace.slug}/s/{cast.space.slug}"
        members = f"{place}/audiences/{ids['audience']}/members.csv"
        assert browser.get(members).status_code == 200
        browser.get(f"{place}/", {"format": "csv"})  # a page that has none
        (entry,) = AuditEntry.objects.filter(action="exported")
        assert (entry.actor, entry.detail) == (cast.people["owner"], {"page": members})

    def test_is_in_the_api_for_owners_of_the_workspace_alone(self, cast):
        services.create_space(cast.workspace, name="Seen", kind="dev", by=cast.people["owner"])
        entries = cast.call("owner", "get", "/api/audit").json()["data"]["entries"]
        assert any(e["action"] == "space.created" and e["actor"] == cast.people["owner"].email for e in entries)
        assert cast.call("admin", "get", "/api/audit").status_code == 403
        strangers = cast.call("stranger", "get", "/api/audit").json()["data"]["entries"]
        assert not any(entry["target"] == cast.space.public_id for entry in strangers)


class TestMails:
    ASKED = services.Invited("mate@example.com")

    def invite(self, cast, *people):
        return services.invite(cast.workspace, people or [self.ASKED], by=cast.people["owner"], origin="http://x")

    @pytest.fixture
    def no_server(self, settings, monkeypatch):
        def fail(**message):
            if "mate@" in message["recipient_list"][0]:
                raise smtplib.SMTPRecipientsRefused({"mate@example.com": (550, b"no such mailbox")})

        monkeypatch.setattr("access.services.send_mail", fail)

    def test_that_cannot_be_sent_invite_nobody_and_say_why(self, cast, no_server):
        other = services.Invited("other@example.com")
        with pytest.raises(services.NotPossible, match=r"mate@example.com .*no such mailbox.*The others were"):
            self.invite(cast, self.ASKED, other)
        assert [row.email for row in queries.pending(cast.workspace)] == ["other@example.com"]

    def test_of_which_the_link_can_be_copied_instead(self, cast):
        (invitation,) = self.invite(cast)
        (mailed,) = re.findall(r"/invitations/(\S+)", mail.outbox[0].body)
        page = f"/w/{cast.workspace.slug}/settings/access-management"
        answer = cast.browser("owner").post(page, {"invitation": invitation.public_id, "do": "link"})
        (copied,) = re.findall(r"http://testserver(/invitations/[^<]+)", answer.content.decode())
        assert Client().get(copied).status_code == 200
        assert Client().get(f"/invitations/{mailed}").status_code == 410
        assert len(mail.outbox) == 1
        assert cast.browser("admin").post(page, {"invitation": invitation.public_id, "do": "link"}).status_code == 403

    def test_can_be_tried(self, cast, monkeypatch):
        page = f"/w/{cast.workspace.slug}/settings/access-management"
        browser = cast.browser("owner")
        said = browser.post(page, {"do": "test-mail"}, follow=True).content.decode()
        assert "A test mail is on its way" in said
        assert mail.outbox[0].to == [cast.people["owner"].email]
        monkeypatch.setattr("access.pages.views.people.send_mail", lambda *a: (_ for _ in ()).throw(OSError("refused")))
        assert "could not be sent: refused" in browser.post(page, {"do": "test-mail"}, follow=True).content.decode()

    @pytest.mark.parametrize(
        ("url", "host", "port", "tls", "ssl"),
        [
            ("smtp://mail.example.com", "mail.example.com", 587, True, False),
            ("smtp://u%40x:p%3Aw@mail.example.com:2525?tls=no", "mail.example.com", 2525, False, False),
            ("smtps://mail.example.com", "mail.example.com", 465, False, True),
        ],
    )
    def test_go_where_the_setting_says(self, url, host, port, tls, ssl):
        found = env.mail(url)
        assert (found["EMAIL_HOST"], found["EMAIL_PORT"]) == (host, port)
        assert (found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (tls, ssl)
        if "@" in url:
            assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("u@x", "p:w")

    @pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://"])
    def test_go_nowhere_with_a_setting_that_is_none(self, url):
        with pytest.raises(ValueError, match="PERSONAS_SMTP_URL"):
            env.mail(url)
