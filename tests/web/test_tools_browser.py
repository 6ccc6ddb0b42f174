"""From the catalogue to knowing which people arrived, with tools that are really there, in a real browser by mouse.

Each is set up with one thing wrong first: what the page says has to be enough to mend it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from audiences.models import Version
from destinations.models import Subscription
from destinations.sync import STAGE
from spaces.batches import advance, open_log
from spaces.outbound import Caller
from tests import stores
from tests.demo_data import DEFINITIONS
from tests.factories_destinations import AudienceFactory, change, make_person
from tests.page_checks import look, sign_in
from tests.page_driver import Mouse
from tests.receiver import Got, Reply, receiving
from tests.vendors import Customerio, redirected

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Tool:
    """fields, choices: the form as it should be. wrong: a field that is filled in wrongly first, and what is typed into
    it; says: what the page has to say of it then. members(): who is in the audience, by what the tool holds.
    """

    label: str
    fields: dict[str, str]
    choices: dict[str, str]
    wrong: tuple[str, str]
    says: str
    members: Callable[[], set[str]]
    readable: bool


@contextmanager
def customerio(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    vendor = Customerio()

    def answer(got: Got) -> Reply:
        if got.headers["authorization"] != "Basic c2l0ZTpzZWNyZXQta2V5":
            return Reply(401, b'{"meta": {"error": "Unauthorized"}}')
        if got.path.endswith("/api/v1/accounts/region"):
            return Reply(200, b'{"url": "track-eu.customer.io", "data_center": "eu", "environment_id": 1}')
        return vendor.do(got)

    with receiving() as server:
        server.answer = answer
        settings.OUTBOUND_ALLOW = [server.place]
        monkeypatch.setattr(Caller, "send", redirected(Caller.send, server))
        yield Tool(
            "Customer.io",
            {"Site ID": "site", "Track API key": "secret-key"},
            {"Region": "EU"},
            ("Track API key", "a-key-that-was-revoked"),
            "Unauthorized",
            lambda: vendor.members,
            readable=False,
        )


@contextmanager
def postgresql(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    with stores.postgresql() as store:
        settings.OUTBOUND_ALLOW = store.places
        place = store.settings
        yield Tool(
            "PostgreSQL",
            {"Host": place["host"], "Port": str(place["port"]), "Database": place["database"], "User": place["user"]},
            {"TLS": "Off"},
            ("Database", "crmm"),
            'database "crmm" does not exist',
            store.members,
            readable=True,
        )


@contextmanager
def s3(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    with stores.s3() as store:
        settings.OUTBOUND_ALLOW = store.places
        yield Tool(
            "Amazon S3 and compatible",
            {
                "Bucket": "people",
                "Access key ID": "AKIA",
                "Secret access key": "secret-key",
                "Endpoint": store.settings["endpoint"],
            },
            {},
            ("Bucket", "poeple"),
            "NoSuchBucket",
            store.members,
            readable=False,
        )


def synced(subscription: Subscription) -> None:
    """What a worker does within seconds."""
    log = open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while advance(STAGE, log):
        pass


@pytest.mark.parametrize("tool_of", [customerio, postgresql, s3])
def test_a_tool_is_set_up_mended_and_shown_to_hold_who_should_be_there(
    tool_of, page, live_server, room, settings, monkeypatch, complaints
):
    audience = AudienceFactory(space=room.dev, name="Shoppers", key="shoppers")
    Version.objects.filter(audience=audience).update(definition=DEFINITIONS[0][1])
    change(audience, entered=[make_person(room.dev, ("user_id", f"shopper-{n}")) for n in range(5)])
    sign_in(page, live_server, room)
    space_url, hands = f"{live_server.url}/w/{room.workspace.slug}/s/{room.dev.slug}", Mouse(page)
    with tool_of(settings, monkeypatch) as tool:
        page.goto(f"{space_url}/destinations/catalog")
        page.get_by_role("link", name=re.compile(f"Set up {re.escape(tool.label)} →")).first.click()
        for label, text in (tool.fields | dict([tool.wrong])).items():
            hands.fill(label, text)
        for label, option in tool.choices.items():
            hands.choose(label, option)
        hands.press("Create the destination")
        hands.see("a first call failed", within="body")
        hands.see(tool.says, within="body")
        assert look(page, f"tool-failing-{tool_of.__name__}") == []
        hands.fill(tool.wrong[0], tool.fields[tool.wrong[0]])
        hands.press("Save")
        hands.press("Test the connection")
        hands.see("It works.")

        page.goto(f"{space_url}/audiences/{audience.public_id}")
        hands.press("Add a destination")
        hands.tick(tool.label)
        hands.press("Connect")
        hands.see(tool.label)
        subscription = Subscription.objects.get(audience=audience, destination__name=tool.label)
        synced(subscription)
        assert tool.members() == {f"shopper-{n}" for n in range(5)}
        hands.press(tool.label, within="main")
        hands.see("None: everyone who should be there was acknowledged, and nobody else.")
        hands.fill("An identifier of the person", "shopper-3")
        hands.press("Look up")
        hands.see("Should be there: yes")
        assert look(page, f"tool-in-step-{tool_of.__name__}") == []
        hands.press("Check what exists")
        hands.see(f"{tool.label} {'holds exactly whom it should' if tool.readable else 'cannot be asked'}")
    assert not complaints, complaints
