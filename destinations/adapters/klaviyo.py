"""Klaviyo: a property of the profile, by which segments and flows choose."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from destinations.rules.contract import (
    REQUESTS,
    Adapter,
    Capabilities,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
)
from destinations.rules.vendors import PropertyOptions, json_request, value_of
from spaces.settings_schema import SettingsDeclaration, secret

API = "https://a.klaviyo.com/api"
REVISION = "2026-07-15"  # of the API; Klaviyo keeps one for two years


class KlaviyoSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[
        str,
        secret("Private API key", help="In Klaviyo: Settings, API keys; with full access to Profiles; begins with pk_"),
    ]


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: KlaviyoSettings,
    options: PropertyOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """A request for each row: the import of many is not told whom it refused, and cannot take a property away."""
    return [
        json_request(
            f"{API}/profile-import",
            {"data": _profile(change, about, options.property_name or about.key)},
            id=change.id,
            rows=[change],
            headers=_headers(settings),
        )
        for change in changes
    ]


def _profile(change: IdentifierChange, about: PayloadComputation, name: str) -> dict[str, Any]:
    value = value_of(change, about)
    profile: dict[str, Any] = {"type": "profile", "attributes": {"email": change.address.email}}
    if value is None:
        profile["meta"] = {"patch_properties": {"unset": name}}
    else:
        profile["attributes"]["properties"] = {name: value}
    return profile


def _headers(settings: KlaviyoSettings) -> dict[str, str]:
    return {
        "authorization": f"Klaviyo-API-Key {settings.api_key}",
        "revision": REVISION,
        "accept": "application/vnd.api+json",
        "content-type": "application/vnd.api+json",
    }


def test(settings: KlaviyoSettings, now: datetime) -> DestinationRequest:
    """Asks for the id of one profile."""
    url = f"{API}/profiles?fields%5Bprofile%5D=id&page%5Bsize%5D=1"
    id = f"test-{int(now.timestamp() * 1000)}"
    return DestinationRequest(id=id, rows=[], method="GET", url=url, headers=_headers(settings))


adapter = Adapter(
    kind="klaviyo",
    label="Klaviyo",
    # Lists know profiles by ids of Klaviyo's own, which a call of its own would have to ask for.
    description="Sets a property of each profile by its e-mail address, for segments and flows. No lists.",
    settings=KlaviyoSettings,
    options=PropertyOptions,
    trait_options=PropertyOptions,
    capabilities=Capabilities(
        styles=("event",),
        batch=250,
        per_second=11,
        concurrency=4,
        identifiers=("email",),
        limits=(
            DocumentedLimit(75, "requests in a burst", "2026-11", 'developers.klaviyo.com, "Create or Update Profile"'),
            DocumentedLimit(
                700 / 60, REQUESTS, "2026-11", 'developers.klaviyo.com, "Create or Update Profile", 700 a minute'
            ),
        ),
    ),
    plan=plan,
    test=test,
)
