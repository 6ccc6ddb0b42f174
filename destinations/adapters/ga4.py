"""Google Analytics 4: a property of the user, and an event, by the Measurement Protocol."""

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
    test_id,
)
from destinations.rules.vendors import as_text, json_request, short_id, value_of
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text

HOSTS = {"global": "https://www.google-analytics.com", "EU": "https://region1.google-analytics.com"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
LONGEST_PROPERTY, LONGEST_VALUE = 24, 36  # characters
PROPERTY_HELP = "At most 24 characters. Empty: the key, shortened where it has more"
NAME_HELP = "A letter, then letters, digits and _; at most 40 characters"


class Ga4Settings(SettingsDeclaration, frozen=True):
    measurement_id: Annotated[
        str, text("Measurement ID", help="In Analytics: Admin, Data streams, the web stream; G-…")
    ]
    api_secret: Annotated[
        str, secret("API secret", help="There as well, under Measurement Protocol API secrets: Create")
    ]
    region: Annotated[Literal["global", "EU"], label("Collected in", help="EU keeps the calls within the EU")] = (
        "global"
    )


class Ga4Options(SettingsDeclaration, frozen=True):
    """GA4 takes other names of events than the other tools."""

    entered_event: Annotated[str, text("Event name on entering", help=NAME_HELP)] = "audience_entered"
    exited_event: Annotated[str, text("Event name on leaving", help=NAME_HELP)] = "audience_exited"
    user_property: Annotated[str, text("User property", help=PROPERTY_HELP)] = ""
    key_parameter: ClassVar = "audience_key"

    def check(self) -> None:
        # Google drops other names without a word, so they are refused here.
        _check_name("enteredEvent", self.entered_event)
        _check_name("exitedEvent", self.exited_event)
        _check_property(self.user_property)

    def event(self, change: IdentifierChange) -> str:
        return self.entered_event if change.entering else self.exited_event


class Ga4TraitOptions(SettingsDeclaration, frozen=True):
    computed_event: Annotated[str, text("Event name of a new value", help=NAME_HELP)] = "trait_computed"
    user_property: Annotated[str, text("User property", help=PROPERTY_HELP)] = ""
    key_parameter: ClassVar = "trait_key"

    def check(self) -> None:
        _check_name("computedEvent", self.computed_event)
        _check_property(self.user_property)

    def event(self, change: IdentifierChange) -> str:
        return self.computed_event


def _check_name(field: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidSetting(field, f"Google Analytics takes no such name. {NAME_HELP}")


def _check_property(name: str) -> None:
    if name and not (NAME.fullmatch(name) and len(name) <= LONGEST_PROPERTY):
        raise InvalidSetting("userProperty", f"At most {LONGEST_PROPERTY} letters, digits and _")


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: Ga4Settings,
    options: Ga4Options | Ga4TraitOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """A request for each row: it is about one client. The property comes with an event, or it would not be taken."""
    key = about.key
    # A longer name would be dropped without a word: the key's beginning, and what tells it from others.
    short_key = key if len(key) <= LONGEST_PROPERTY else f"{key[:17]}_{short_id(key)[:6]}"
    name, url, requests = options.user_property or short_key, _url(settings, "/mp/collect"), []
    for change in changes:
        address, value = change.address, _short(value_of(change, about))
        fields = {field: _short(content) for field, content in change.fields.items()}
        params = {**fields, options.key_parameter: key[:100], **({name: value} if value is not None else {})}
        content = {
            # Assumed: the site gives Analytics our anonymous id. For want of one, a client that stands for the user.
            "client_id": address.anonymous_id or short_id(address.user_id or ""),
            **({"user_id": address.user_id} if address.user_id else {}),
            "timestamp_micros": int(change.at.timestamp() * 1_000_000),
            "user_properties": {name: {"value": value}},
            "events": [{"name": options.event(change), "params": params}],
        }
        requests.append(json_request(url, content, id=change.id, rows=[change]))
    return requests


def _short(value: Any) -> Any:
    """As a user property can be: a number, or a text of 36 characters. Assumed: null takes it away."""
    # A truth value is an int in Python, and would arrive as 1.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number or value is None else as_text(value)[:LONGEST_VALUE]


def _url(settings: Ga4Settings, path: str) -> str:
    """With the secret in it: Google takes it in no other way."""
    query = urlencode({"measurement_id": settings.measurement_id, "api_secret": settings.api_secret})
    return f"{HOSTS[settings.region]}{path}?{query}"


def test(settings: Ga4Settings, now: datetime) -> DestinationRequest:
    """Asks the validation server, which keeps nothing; neither does it look at the secret."""
    content = {"client_id": "personas", "events": [{"name": "connection_test", "params": {}}]}
    url = _url(settings, "/debug/mp/collect")
    return json_request(url, content, id=test_id(now), rows=[])


adapter = Adapter(
    kind="ga4",
    label="Google Analytics 4",
    description="Sets a user property, and sends events. Google says of no call whether it used it.",
    settings=Ga4Settings,
    options=Ga4Options,
    trait_options=Ga4TraitOptions,
    # Names and values as above; no limit of requests. 2xx whatever becomes of the call.
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=50,
        concurrency=8,
        identifiers=("user_id", "anonymous_id"),
        limits=(
            DocumentedLimit(25, "user properties", "2026-11", 'developers.google.com, "Measurement Protocol (GA4)"'),
            DocumentedLimit(
                72, "hours of age of an event", "2026-11", 'developers.google.com, "Measurement Protocol (GA4)"'
            ),
        ),
    ),
    plan=plan,
    test=test,
    unread="The Measurement Protocol only takes events",
)
