"""The front door, in Chromium, on a console with all its processes: from an empty folder to a session that is ended."""

import re
import threading
from email import message_from_bytes

import pytest
from aiosmtpd.controller import Controller

from quickstart.console import open_console
from tests.web.test_journeys import free_port

OWNER, MATE = "owner@example.com", "mate@example.com"
FIRST, SECOND = "a long enough password", "wholly another password"


class Mailbox:
    """What a mail server was given."""

    def __init__(self):
        self.mails, self.come = [], threading.Condition()

    async def handle_DATA(self, server, session, envelope):
        with self.come:
            body = message_from_bytes(envelope.content).get_payload(decode=True).decode()
            self.mails.append((envelope.rcpt_tos, body))
            self.come.notify_all()
        return "250 taken"

    def link(self, to, path):
        """The newest link of that kind to somebody."""
        with self.come:
            found = self.come.wait_for(lambda: [b for r, b in self.mails if to in r and path in b], timeout=20)
        return re.search(rf"http\S+{path}\S+", found[-1]).group()


@pytest.fixture
def mailbox():
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=int(free_port()))
    server.start()
    box.url = f"smtp://127.0.0.1:{server.port}?tls=no"
    yield box
    server.stop()


@pytest.fixture
def console(tmp_path, mailbox):
    with pytest.MonkeyPatch.context() as environment:
        for name in ("PERSONAS_CLICKHOUSE_PORT", "PERSONAS_WEB_PORT"):
            environment.setenv(name, free_port())
        environment.setenv("PERSONAS_SMTP_URL", mailbox.url)
        running = open_console(tmp_path / "var")
        running.first = (tmp_path / "var" / "first-owner.link").read_text()
        yield running
        running.stop()


def fill(page, **fields):
    for label, text in fields.items():
        page.get_by_label(label.replace("_", " ")).first.fill(text)


def test_from_an_empty_folder_to_a_session_that_is_ended(browser, console, mailbox):
    owner, mate, phone = (browser.new_context(base_url=console.address).new_page() for _ in range(3))
    owner.goto("/")
    owner.get_by_text("Nobody has an account yet").wait_for()
    owner.goto(console.first)
    fill(owner, **{"E-mail_address": OWNER, "Your_name": "Ada", "Password": FIRST, "Workspace": "Northwind"})
    owner.get_by_role("button", name="Create the account").click()
    owner.get_by_text("Welcome. Northwind is yours").wait_for()
    assert mate.goto(console.first).status == 410

    owner.get_by_role("link", name="Access", exact=True).click()
    owner.get_by_role("button", name="Send me a test mail").click()
    owner.get_by_text(f"A test mail is on its way to {OWNER}").wait_for()
    owner.get_by_role("link", name="Invite people").click()
    owner.get_by_label("E-mail addresses").fill(MATE)
    owner.get_by_role("button", name="Send invitations").click()
    owner.get_by_text(f"{MATE} was invited").wait_for()

    mate.goto(mailbox.link(MATE, "/invitations/"))
    fill(mate, Your_name="Grace", Password=FIRST)
    mate.get_by_role("button", name="Join the workspace").click()
    mate.get_by_text("Welcome to Northwind").wait_for()

    phone.goto("/sign-in")
    phone.get_by_role("link", name="Forgot your password?").click()
    fill(phone, **{"E-mail_address": MATE})
    phone.get_by_role("button", name="Send the link").click()
    phone.get_by_text("Look into your mailbox").wait_for()
    phone.goto(mailbox.link(MATE, "/password/"))
    fill(phone, New_password=SECOND, New_password_confirmation=SECOND)
    phone.get_by_label("New password confirmation").fill(SECOND)
    phone.get_by_role("button", name="Save the password").click()
    phone.get_by_text("The password is new").wait_for()
    assert "/sign-in" in mate.goto("/account").url  # its session ended with the old password
    for page in (phone, mate):
        page.goto("/sign-in")
        fill(page, **{"E-mail_address": MATE, "Password": SECOND})
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Your account").wait_for()

    phone.goto("/account")
    phone.get_by_role("button", name="End the session").click()
    phone.get_by_text("That session has ended").wait_for()
    assert "/sign-in" in mate.goto("/account").url
    assert "/sign-in" not in phone.goto("/account").url

    mate.goto("/sign-in")
    for number in range(11):
        fill(mate, **{"E-mail_address": MATE, "Password": f"guess {number}"})
        mate.get_by_role("button", name="Sign in").click()
        mate.locator("main").get_by_text(re.compile("No account has|Too many tries")).first.wait_for()
    assert "Too many tries" in mate.locator("body").inner_text()

    owner.get_by_role("link", name="Audit trail").click()
    for action in ("Invitation accepted", "Password changed", "Session ended"):
        owner.get_by_text(action).first.wait_for()
