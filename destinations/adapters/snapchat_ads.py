"""Snapchat: a customer list audience of an ad account, filled with hashed addresses, numbers and mobile ids."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from destinations.rules.advertising import (
    ANDROID_ID,
    IDFA,
    AdvertisingOptions,
    ComparedTypes,
    by_direction_and_type,
    name_there,
    read_unnamed,
)
from destinations.rules.contract import (
    PEOPLE,
    Adapter,
    Capabilities,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
)
from destinations.rules.hashing import hashed_digits, hashed_email, hashed_mobile_id
from destinations.rules.lists import LIST, list_steps
from destinations.rules.oauth import bearer, refreshed, token_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import json_request, looked_up
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

API = "https://adsapi.snapchat.com/v1"
COMPARED: ComparedTypes = {
    "email": ("EMAIL_SHA256", hashed_email),
    "phone": ("PHONE_SHA256", hashed_digits),
    IDFA: ("MOBILE_AD_ID_SHA256", hashed_mobile_id),
    ANDROID_ID: ("MOBILE_AD_ID_SHA256", hashed_mobile_id),
}
FOR_EVER = 9999  # days of retention


class SnapchatAdsSettings(SettingsDeclaration, frozen=True):
    client_id: Annotated[str, text("Client ID")]
    client_secret: Annotated[str, secret("Client secret")]
    refresh_token: Annotated[str, secret("Refresh token")]
    ad_account_id: Annotated[str, text("Ad account ID", help="In the Ads Manager: Ad accounts, the ID of the account")]

    def check(self) -> None:
        if not self.ad_account_id.replace("-", "").isalnum():
            raise InvalidSetting("adAccountId", "The ID has letters, digits and - alone")


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: SnapchatAdsSettings,
    options: AdvertisingOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for each direction and type of identifier."""
    url = f"{API}/segments/{about.remembered[LIST]}/users"
    return [
        json_request(
            url,
            {"users": [{"schema": [name], "data": [[value] for value in values]}]},
            id=batch_id(rows),
            rows=rows,
            method="POST" if entering else "DELETE",
        )
        for entering, name, rows, values in by_direction_and_type(changes, COMPARED)
    ]


def _segments(answer: Answer) -> list[dict[str, Any]]:
    return [entry["segment"] for entry in looked_up(answer, "segments") if isinstance(entry.get("segment"), dict)]


def _create(settings: SnapchatAdsSettings, name: str) -> DestinationRequest:
    segment = {
        "name": name,
        "description": "Kept by Personas",
        "source_type": "FIRST_PARTY",
        "retention_in_days": FOR_EVER,
        "ad_account_id": settings.ad_account_id,
    }
    url = f"{API}/adaccounts/{settings.ad_account_id}/segments"
    return json_request(url, {"segments": [segment]}, id="", rows=[])


def test(settings: SnapchatAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for the ad account."""
    url = f"{API}/adaccounts/{settings.ad_account_id}"
    return DestinationRequest(f"test-{int(now.timestamp() * 1000)}", [], "GET", url)


adapter = Adapter(
    kind="snapchat_ads",
    label="Snapchat Audiences",
    description="Fills a customer list of an ad account with hashed e-mail addresses, numbers and mobile ids.",
    settings=SnapchatAdsSettings,
    options=AdvertisingOptions,
    capabilities=Capabilities(
        styles=("list",),
        batch=500,
        per_second=5,
        identifiers=(*COMPARED,),
        fields=None,
        limits=(DocumentedLimit(100_000, PEOPLE, "2026-11", "developers.snap.com, Customer List Audiences"),),
    ),
    plan=plan,
    read=read_unnamed,
    test=test,
    steps=(
        token_step(
            lambda settings: "https://accounts.snapchat.com/login/oauth2/access_token",
            lambda settings, remembered: refreshed(
                settings.client_id, settings.client_secret, remembered.get("refresh_token", settings.refresh_token)
            ),
        ),
        *list_steps(
            lambda settings, name: DestinationRequest(
                "", [], "GET", f"{API}/adaccounts/{settings.ad_account_id}/segments"
            ),
            lambda answer, name: next((each["id"] for each in _segments(answer) if each.get("name") == name), None),
            _create,
            lambda answer: next((each.get("id") for each in _segments(answer)), None),
            name=name_there,
        ),
    ),
    authorize=bearer,
    credentials=(
        "In Snapchat: Business settings, Business details, OAuth apps: the client's ID and secret. Authorise it once "
        "with snapchat-marketing-api; the answer has a refresh token, which does not end."
    ),
)
