"""Snapchat: a customer list audience of an ad account, filled with hashed addresses, numbers and mobile ids."""

from datetime import datetime
from typing import Annotated, Any

from destinations.rules.advertising import (
    ANDROID_ID,
    IDFA,
    UNREAD,
    AdvertisingOptions,
    ComparedTypes,
    audience_steps,
    by_direction_and_type,
    list_capabilities,
    read_unnamed,
)
from destinations.rules.contract import (
    Adapter,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    test_id,
)
from destinations.rules.hashing import hashed_digits, hashed_email, hashed_mobile_id
from destinations.rules.lists import LIST
from destinations.rules.oauth import RefreshedSettings, bearer, refresh_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import id_of_named, json_request, looked_up
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, text

API = "https://adsapi.snapchat.com/v1"
COMPARED: ComparedTypes = {
    "email": ("EMAIL_SHA256", hashed_email),
    "phone": ("PHONE_SHA256", hashed_digits),
    IDFA: ("MOBILE_AD_ID_SHA256", hashed_mobile_id),
    ANDROID_ID: ("MOBILE_AD_ID_SHA256", hashed_mobile_id),
}


class SnapchatAdsSettings(RefreshedSettings, frozen=True):
    ad_account_id: Annotated[str, text("Ad account ID", help="In the Ads Manager: Ad accounts, the ID of the account")]

    def check(self) -> None:
        if not self.ad_account_id.replace("-", "").isalnum():  # it becomes part of an address
            raise InvalidSetting("adAccountId", "The ID has letters, digits and - alone")


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: SnapchatAdsSettings,
    options: AdvertisingOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for each direction and type of identifier."""
    return [
        json_request(
            f"{API}/segments/{about.remembered[LIST]}/users",
            {"users": [{"schema": [name], "data": [[value] for value in values]}]},
            id=batch_id(rows),
            rows=rows,
            method="POST" if entering else "DELETE",
        )
        for entering, name, rows, values in by_direction_and_type(changes, COMPARED)
    ]


def _account(settings: SnapchatAdsSettings) -> str:
    return f"{API}/adaccounts/{settings.ad_account_id}"


def _segments(answer: Answer) -> list[dict[str, Any]]:
    return [entry["segment"] for entry in looked_up(answer, "segments") if isinstance(entry.get("segment"), dict)]


def _create(settings: SnapchatAdsSettings, name: str) -> DestinationRequest:
    segment = {
        "name": name,
        "description": "Kept by Personas",
        "source_type": "FIRST_PARTY",
        "retention_in_days": 9999,  # for ever
        "ad_account_id": settings.ad_account_id,
    }
    return json_request(f"{_account(settings)}/segments", {"segments": [segment]}, id="", rows=[])


def test(settings: SnapchatAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for the ad account."""
    return DestinationRequest(test_id(now), [], "GET", _account(settings))


adapter = Adapter(
    kind="snapchat_ads",
    label="Snapchat Audiences",
    description="Fills a customer list of an ad account with hashed e-mail addresses, numbers and mobile ids.",
    settings=SnapchatAdsSettings,
    options=AdvertisingOptions,
    capabilities=list_capabilities(
        COMPARED, DocumentedLimit.people(100_000, "2026-11", "developers.snap.com, Customer List Audiences")
    ),
    plan=plan,
    read=read_unnamed,
    test=test,
    steps=(
        refresh_step("https://accounts.snapchat.com/login/oauth2/access_token"),
        *audience_steps(
            lambda settings, name: DestinationRequest("", [], "GET", f"{_account(settings)}/segments"),
            lambda answer, name: id_of_named(_segments(answer), name),
            _create,
            lambda answer: next((segment.get("id") for segment in _segments(answer)), None),
        ),
    ),
    authorize=bearer,
    credentials=(
        "In Snapchat: Business settings, Business details, OAuth apps: the client's ID and secret. Authorise it once "
        "with snapchat-marketing-api; the answer has a refresh token, which does not end."
    ),
    unread=UNREAD,
)
