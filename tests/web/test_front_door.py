"""The front door, in Chromium, on a console with all its processes, from an empty folder on."""

import re
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from quickstart.console import open_console
from tests.page_driver import Mouse
from tests.web.test_journeys import free_port

WALK = " ".join((Path(__file__).parents[2] / "docs" / "first-ten-minutes.md").read_text().split())
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


@pytest.fixture(scope="module")
def mailbox():
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=int(free_port()))
    server.start()
    box.url = f"smtp://127.0.0.1:{server.port}?tls=no"
    yield box
    server.stop()


@pytest.fixture(scope="module")
def console(tmp_path_factory, mailbox):
    """In an empty folder. The first test makes its owner."""
    home = tmp_path_factory.mktemp("front") / "var"
    with pytest.MonkeyPatch.context() as environment:
        for name in ("PERSONAS_CLICKHOUSE_PORT", "PERSONAS_WEB_PORT"):
            environment.setenv(name, free_port())
        environment.setenv("PERSONAS_SMTP_URL", mailbox.url)
        running = open_console(home)
        running.first = (home / "first-owner.link").read_text()
        yield running
        running.stop()


def fill(page, **fields):
    for label, text in fields.items():
        page.get_by_label(label.replace("_", " ")).first.fill(text)


def visit(browser, script):
    """A page of a shop elsewhere, with this script in it."""
    html = f"<!doctype html><title>Shop</title><script type=module>{script}</script>".encode()

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shop = browser.new_context().new_page()
        with shop.expect_response(lambda answer: "/v1/track" in answer.url and answer.request.method == "POST"):
            shop.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        server.shutdown()


def test_the_first_ten_minutes(console, browser):
    """From an empty folder to the profile of a visitor, as docs/first-ten-minutes.md says."""
    hands = Mouse(browser.new_context(base_url=console.address).new_page())
    hands.page.goto("/")
    hands.see("Nobody has an account yet", within="body")
    hands.page.goto(console.first)
    for label, text in (
        ("E-mail address", OWNER),
        ("Your name", "Ada"),
        ("Password", FIRST),
        ("Workspace", "Northwind"),
    ):
        hands.fill(label, text)
    hands.press("Create the account")
    hands.see("Welcome. Northwind is yours", within="body")
    hands.press("Sources")
    hands.press("New source")
    hands.fill("Name", "Shop")
    hands.tick("Website")
    hands.press("Create the source")
    visit(browser, hands.page.locator("#snippet-browser").get_attribute("data-secret"))
    hands.press("See it arrive in the debugger")
    hands.see("Product Viewed")
    hands.press("Personas")
    hands.press("Create a Dev space")
    hands.fill("Name", "Try out")
    hands.press("Create the space")
    hands.press("Connect sources")
    hands.tick("Shop")
    hands.press("Connect")
    hands.see("Replay complete.")
    hands.press("Profiles")
    hands.press("Anonymous visitor")
    hands.press("Open the whole profile")
    hands.press("Events", within="main")
    hands.see("Product Viewed")
    assert f"takes {hands.clicks} clicks and {hands.fields} fields" in WALK
    assert [name for name in hands.touched if f"*{name}*" not in WALK and f"“{name}”" not in WALK] == ["Website"]


def test_teammates_come_forget_their_passwords_and_lose_their_phones(browser, console, mailbox):
    owner, mate, phone = (browser.new_context(base_url=console.address).new_page() for _ in range(3))
    assert mate.goto(console.first).status == 410
    owner.goto("/sign-in")
    fill(owner, **{"E-mail_address": OWNER, "Password": FIRST})
    owner.get_by_role("button", name="Sign in").click()

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
        with mate.expect_navigation():  # the page of the guess before says the same
            mate.get_by_role("button", name="Sign in").click()
        mate.locator("main").get_by_text(re.compile("No account has|Too many tries")).first.wait_for()
    assert "Too many tries" in mate.locator("body").inner_text()

    owner.get_by_role("link", name="Audit trail").click()
    for action in ("Invitation accepted", "Password changed", "Session ended"):
        owner.get_by_text(action).first.wait_for()
