"""The journeys that the console is for, walked with a mouse, with a keyboard alone, and without JavaScript; and how
many clicks and fields each takes. The eight steps are walked on a console with all its processes, from an empty one."""

import os
import random
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect
from segment.analytics.client import Client

from benchmarks import prepared
from destinations import sync
from destinations.models import Destination
from quickstart.console import open_console
from spaces.batches import advance, open_log
from tests.cast import PASSWORD
from tests.factories_destinations import make_destination, make_subscription
from tests.page_driver import Keyboard, Mouse, PlainMouse
from tests.receiver import Reply, receiving

GUIDE = " ".join((Path(__file__).parents[2] / "docs" / "guide.md").read_text().split())
EVERYBODY, NEW = 40, 12  # people who signed up within 30 days, and within 7


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """Personas as `make up` starts it, empty; on ports of its own, since the stores of this run are on the others."""
    home = tmp_path_factory.mktemp("console")
    prepared.prepare(home, dict(os.environ))
    with pytest.MonkeyPatch.context() as environment:
        for name in ("PERSONAS_CLICKHOUSE_PORT", "PERSONAS_WEB_PORT"):
            environment.setenv(name, free_port())
        running = open_console(home)
    yield running
    running.stop()


@pytest.fixture(params=[Mouse, Keyboard, PlainMouse], ids=["mouse", "keyboard", "without JavaScript"])
def hands(request, browser):
    """Those of somebody who has not signed in yet."""
    context = browser.new_context(java_script_enabled=request.param.scripts)
    context.set_default_timeout(10_000)
    yield request.param(context.new_page())
    context.close()


def sign_in(hands, address, email):
    hands.page.goto(f"{address}/sign-in")
    hands.fill("E-mail address", email)
    hands.fill("Password", PASSWORD)
    hands.press("Sign in")


def took(hands):
    """Shown by pytest -s."""
    print(f"\n{type(hands).__name__}: {hands.clicks} clicks, {hands.fields} fields, {hands.strokes} keys to reach them")
    return hands.clicks, hands.fields


def test_the_eight_steps(hands, console):
    """From an empty workspace to an audience that arrives, in Dev and in Prod, touching what the guide names."""
    owner = f"{type(hands).__name__.lower()}@example.com"
    console.owner(owner, f"Shop of {owner}", password=PASSWORD)
    sign_in(hands, console.address, owner)
    hands.press("Create a Dev space")
    hands.fill("Name", "Try out")
    hands.press("Create the space")
    invite(hands)
    shop_opens(hands, console)
    connect(hands)
    check_profiles(hands)
    describe_an_audience(hands)
    send_it_somewhere(hands)
    validate(hands)
    do_the_same_in_prod(hands)
    hands.press("Personas")
    hands.see("8 of 8 done")
    assert took(hands) == (54, 13)
    assert [name for name in hands.touched if f"*{name}*" not in GUIDE and f"“{name}”" not in GUIDE] == []


@pytest.mark.django_db(transaction=True)
def test_somebody_is_found_and_it_is_said_why_they_are_in_an_audience(hands, live_server, room):
    sign_in(hands, live_server.url, room.owner.email)
    hands.press("Shop (Dev)", within="main")
    hands.press("Profiles")
    hands.fill("Find by a name or an identifier", "ada")
    hands.press("Find")
    hands.press("Ada Obi", within="main")
    if hands.scripts:
        hands.press("Open the whole profile")
    hands.press("Audiences", within="main")
    if not hands.scripts:
        hands.press("Show the audiences")
    hands.press("Why they are in New users, 7 days")
    hands.see("Condition by condition", within="body")
    hands.see('They performed "User Signed Up"', within="body")
    assert took(hands) == (8, 3)


@pytest.mark.django_db(transaction=True)
def test_it_is_found_out_why_somebody_did_not_arrive(hands, live_server, room, settings):
    """Their tool refused the person; the page names the answer, and the log has the whole call."""
    with receiving() as tool:
        settings.OUTBOUND_ALLOW = [tool.place]
        tool.answer = lambda got: Reply(422, b"phone number missing") if b"dana@" in got.body else Reply()
        synced(room.audience, tool.url)
    sign_in(hands, live_server.url, room.owner.email)
    hands.press("Shop (Dev)", within="main")
    hands.press("Audiences")
    hands.press("New users, 7 days")
    hands.press("Dialler", within="main")
    hands.see("phone number missing")
    hands.fill("An identifier of the person", "dana@example.com")
    hands.press("Look up")
    hands.see("They are in the audience.")
    hands.press("entered, refused")
    hands.press("Refused")
    hands.see("phone number missing")
    hands.see("dana@example.com")
    assert took(hands) == (8, 3)


def synced(audience, url):
    """The audience was sent there, by the real sync stage."""
    destination = make_destination(audience.space, "webhook", url=url)
    Destination.objects.filter(pk=destination.pk).update(name="Dialler")
    way = make_subscription(audience, destination, sendIdentify=False)
    log = open_log(stage="sync", partition=way.pk, workspace_id=way.workspace_id)
    while advance(sync.STAGE, log):
        pass


def invite(hands):
    hands.press("Personas")
    hands.press("Invite people")
    hands.press("Invite people")
    hands.fill("E-mail addresses", "mate@example.com")
    hands.tick("Personas User in Try out")
    hands.press("Send invitations")
    hands.see("mate@example.com")


def shop_opens(hands, console):
    """A source is made, and what people did in the last weeks is sent to it by a real client library."""
    hands.press("Sources")
    hands.press("New source")
    hands.fill("Name", "Website")
    hands.press("Create the source")
    key = hands.page.locator("[data-secret]").first.get_attribute("data-secret")
    send(console.address, key)
    hands.press("See it arrive in the debugger")
    hands.see("Signed Up")


def send(address, key):
    client = Client(key, host=address, sync_mode=False, max_retries=2, gzip=True)
    dice, now = random.Random(5), datetime.now(UTC)
    for number in range(EVERYBODY):
        days = dice.uniform(0.1, 6.9) if number < NEW else dice.uniform(7.1, 29)
        at, visitor, user = now - timedelta(days=days), f"visitor-{number}", f"user-{number}"
        traits = {"name": f"Person {number}", "email": f"person-{number}@example.com"}
        client.page(anonymous_id=visitor, name="Welcome", timestamp=at - timedelta(minutes=5))
        client.identify(user_id=user, anonymous_id=visitor, traits=traits, timestamp=at)
        client.track(user_id=user, event="Signed Up", properties={"plan": "pro"}, timestamp=at + timedelta(minutes=1))
    client.shutdown()


def connect(hands):
    hands.press("Personas")
    hands.press("Connect a source")
    hands.tick("Website")
    hands.press("Connect")
    hands.see("Replay complete.")
    hands.see(f"{3 * EVERYBODY:,} events of Website became profiles of this space")


def check_profiles(hands):
    hands.press("See the profiles")
    hands.fill("Find by a name or an identifier", "person-7@example.com")
    hands.press("Find")
    hands.press("Person 7")
    if hands.scripts:
        hands.press("Open the whole profile")
    hands.press("Identities")
    for known in ("user-7", "visitor-7", "person-7@example.com"):
        hands.see(known)


def describe_an_audience(hands):
    hands.press("Personas")
    hands.press("New audience")
    hands.press("Describe a new audience")
    hands.fill("Event", "Signed Up")
    hands.choose("When", "in the last")
    hands.fill("How long", "7")
    if not hands.scripts:
        hands.press("Preview")
    hands.see(f"{NEW} people")
    hands.press("Select destinations →")


def send_it_somewhere(hands):
    """To the catcher, which is made on the way, and is ticked when one comes back with it."""
    hands.press("Choose a destination")
    hands.press("Webhook catcher")
    hands.fill("Name", "Catcher")
    hands.press("Create the destination")
    expect(hands.page.get_by_label("Catcher")).to_be_checked()
    hands.press("Review →")
    hands.fill("Name", "New users")
    hands.press("Create audience →")
    hands.see("New users")


def validate(hands):
    hands.press("Catcher")
    hands.see("100 %")
    hands.see("None: everyone who should be there was acknowledged, and nobody else.")
    hands.fill("An identifier of the person", "person-7@example.com")
    hands.press("Look up")
    hands.see("They are in the audience.")
    hands.press("What it has")
    hands.see("person-7@example.com")


def do_the_same_in_prod(hands):
    """Led by the guide, which says what Dev has and Prod lacks."""
    hands.press("Personas")
    hands.press("Create a Prod space")
    hands.fill("Name", "Shop")
    hands.press("Create the space")
    hands.press("Compare with Dev")
    hands.press("Connect sources")
    hands.tick("Website")
    hands.press("Connect")
    hands.see("Replay complete.")
    go_on_with_the_guide(hands)
    hands.press("Copy New users to this space")
    hands.press("Add a destination")
    hands.press("Webhook catcher")
    hands.fill("Name", "Catcher")
    hands.press("Create the destination")
    go_on_with_the_guide(hands)
    hands.press("Connect New users → Catcher")
    hands.tick("Catcher")
    hands.press("Connect")
    hands.press("Catcher")
    hands.see("100 %")


def go_on_with_the_guide(hands):
    hands.press("Personas")
    hands.press("See what is missing")
