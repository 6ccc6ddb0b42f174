"""TikTok: a Custom Audience of an advertiser, filled with hashed addresses, telephone numbers and mobile ids."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

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
    DELIVERED,
    Adapter,
    CallOutcome,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    outcome_of,
    test_id,
)
from destinations.rules.hashing import hashed_e164, hashed_email, hashed_mobile_id
from destinations.rules.lists import LIST
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import decoded, id_of_named, json_request
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

API = "https://business-api.tiktok.com/open_api/v1.3"
PAUSE_S = 60.0
COMPARED: ComparedTypes = {
    "email": ("EMAIL_SHA256", hashed_email),
    "phone": ("PHONE_SHA256", hashed_e164),
    IDFA: ("IDFA_SHA256", hashed_mobile_id),
    ANDROID_ID: ("GAID_SHA256", hashed_mobile_id),
}
OK, TOO_MANY, TROUBLE = 0, {40100, 40133}, range(50000, 60000)  # codes in answers that are all 200


class TiktokAdsSettings(SettingsDeclaration, frozen=True):
    access_token: Annotated[str, secret("Access token")]
    advertiser_id: Annotated[str, text("Advertiser ID", help="In the TikTok Ads Manager, beside the account's name")]

    def check(self) -> None:
        if not self.advertiser_id.isdecimal():
            raise InvalidSetting("advertiserId", "Give the digits of the advertiser")


def plan(
    changes: Changes, about: PayloadComputation, settings: TiktokAdsSettings, options: AdvertisingOptions, now: datetime
) -> list[DestinationRequest]:
    """One request for each direction and type of identifier."""
    there = [about.remembered[LIST]]
    return [
        _post(
            settings,
            "/segment/mapping/",
            {
                "advertiser_ids": [settings.advertiser_id],
                "action": "add" if entering else "delete",
                "id_schema": [name],
                # One audience for each value: TikTok would take several.
                "batch_data": [[{"id": value, "audience_ids": there}] for value in values],
            },
            batch_id(rows),
            rows,
        )
        for entering, name, rows, values in by_direction_and_type(changes, COMPARED)
    ]


def _post(settings: TiktokAdsSettings, path: str, content: Any, id: str, rows: Changes) -> DestinationRequest:
    return json_request(API + path, content, id=id, rows=rows, headers={"access-token": settings.access_token})


def _find(settings: TiktokAdsSettings, name: str) -> DestinationRequest:
    # Of several pages only the first is looked at: an older audience of this name must be among the newest hundred.
    query = urlencode({"advertiser_id": settings.advertiser_id, "page": 1, "page_size": 100})
    url = f"{API}/dmp/custom_audience/list/?{query}"
    return DestinationRequest("", [], "GET", url, {"access-token": settings.access_token})


def _create(settings: TiktokAdsSettings, name: str) -> DestinationRequest:
    content = {"custom_audience_name": name, "advertiser_id": settings.advertiser_id, "action": "create"}
    return _post(settings, "/segment/audience/", content, "", [])


def _content(answer: Answer) -> dict[str, Any]:
    content = decoded(answer.body).get("data")
    return content if isinstance(content, dict) else {}


def _failed(answer: Answer) -> CallOutcome | None:
    """200 whatever becomes of the call: the code in it says so."""
    if not answer.ok:
        return outcome_of(answer)
    code = decoded(answer.body).get("code", OK)
    if code == OK:
        return None
    passes = code in TOO_MANY or code in TROUBLE
    return CallOutcome("retry", answer.text(), PAUSE_S) if passes else CallOutcome("suspended", answer.text())


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    return read_unnamed(request, _failed(answer) or DELIVERED)


def test(settings: TiktokAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for the audiences that are there."""
    return replace(_find(settings, ""), id=test_id(now))


adapter = Adapter(
    kind="tiktok_ads",
    label="TikTok Custom Audiences",
    description="Fills a Custom Audience of an advertiser with hashed e-mail addresses, numbers and mobile ids.",
    settings=TiktokAdsSettings,
    options=AdvertisingOptions,
    capabilities=list_capabilities(
        COMPARED,
        DocumentedLimit(10, "requests a second, in the basic plan", "2026-11", "business-api.tiktok.com/portal"),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=audience_steps(
        _find,
        lambda answer, name: id_of_named(_content(answer)["list"], name, "audience_id"),
        _create,
        lambda answer: _content(answer).get("audience_id"),
        failed=_failed,
    ),
    credentials=(
        "In TikTok for Business: My apps, an app with Audience Management; authorise it for the advertiser, and "
        "exchange the code for a long-term access token, which does not end."
    ),
    unread=UNREAD,
)
