"""The webhook catcher: keeps what a webhook would have received, inside this installation.

An adapter of its own with a transport of its own, so that trying things out needs no hole in the door out.
"""

from datetime import datetime
from typing import Annotated, Literal

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    PayloadComputation,
    json_body,
    test_id,
)
from destinations.rules.payloads import (
    EVERY_TYPE,
    STYLES_HELP,
    CallOptions,
    EventOptions,
    TraitOptions,
    batch_id,
    change_set,
    messages,
)
from spaces.settings_schema import SettingsDeclaration, label
from spaces.times import iso

INTEGRATION = "Webhook Catcher"  # the name in `integrations`


class CatcherSettings(SettingsDeclaration, frozen=True):
    style: Annotated[Literal["event", "list"], label("Send people as", help=STYLES_HELP)] = "event"


def plan(
    changes: Changes, about: PayloadComputation, settings: CatcherSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """One array of calls, or one change set, exactly as a webhook gets them."""
    if settings.style == "list":
        content: list[object] = [change_set(changes, about)]
    else:
        content = [message for change in changes for message in messages(change, about, options, INTEGRATION)]
    # As the webhook sends it, without a signature: it goes nowhere.
    headers = {"content-type": "application/json", "webhook-id": batch_id(changes)}
    return [DestinationRequest(id=batch_id(changes), rows=changes, headers=headers, body=json_body(content))]


def test(settings: CatcherSettings, now: datetime) -> DestinationRequest:
    """A call that no receiver takes for a person."""
    id = test_id(now)
    body = json_body([{"type": "test", "messageId": id, "timestamp": iso(now)}])
    return DestinationRequest(id=id, rows=[], headers={"content-type": "application/json"}, body=body)


adapter = Adapter(
    kind="catcher",
    label="Webhook catcher",
    description="Keeps what it receives where you can look at it. Nothing leaves this installation.",
    settings=CatcherSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    capabilities=Capabilities(styles=("event", "list"), batch=250, identifiers=EVERY_TYPE, accounts=True),
    plan=plan,
    test=test,
    transport="catcher",
)
