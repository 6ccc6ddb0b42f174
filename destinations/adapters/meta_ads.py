"""Meta: a Custom Audience of an ad account, filled with hashed addresses, telephone numbers and mobile ids."""

from datetime import datetime
from typing import Annotated
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
from destinations.rules.hashing import hashed_digits, hashed_email, lower
from destinations.rules.lists import LIST
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import as_json, bearer_header, decoded, id_of_named, json_request, looked_up
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

API = "https://graph.facebook.com/v25.0"
PAUSE_S = 60.0
# developers.facebook.com, "Customer file custom audiences", November 2026: of these only mobile ids are not hashed.
COMPARED: ComparedTypes = {
    "email": ("EMAIL", hashed_email),
    "phone": ("PHONE", hashed_digits),
    IDFA: ("MADID", lower),
    ANDROID_ID: ("MADID", lower),
}
# developers.facebook.com, "Error codes" and "Rate limiting", November 2026.
TOO_MANY = {1, 2, 4, 17, 32, 341, 613, *range(80000, 80015)}


class MetaAdsSettings(SettingsDeclaration, frozen=True):
    access_token: Annotated[str, secret("Access token", help="Of a system user, which does not end")]
    ad_account_id: Annotated[str, text("Ad account ID", help="Its digits, without act_")]

    def check(self) -> None:
        if not self.ad_account_id.isdecimal():
            raise InvalidSetting("adAccountId", "Give the digits of the ad account, without act_")


def plan(
    changes: Changes, about: PayloadComputation, settings: MetaAdsSettings, options: AdvertisingOptions, now: datetime
) -> list[DestinationRequest]:
    """One request for each direction and type of identifier."""
    return [
        json_request(
            f"{API}/{about.remembered[LIST]}/users",
            {"payload": {"schema": [name], "data": [[value] for value in values]}},
            id=batch_id(rows),
            rows=rows,
            headers=bearer_header(settings.access_token),
            method="POST" if entering else "DELETE",
        )
        for entering, name, rows, values in by_direction_and_type(changes, COMPARED)
    ]


def _find(settings: MetaAdsSettings, name: str) -> DestinationRequest:
    filtering = [{"field": "name", "operator": "EQUAL", "value": name}]
    query = urlencode({"fields": "id,name", "limit": 500, "filtering": as_json(filtering)})
    url = f"{API}/act_{settings.ad_account_id}/customaudiences"
    return DestinationRequest("", [], "GET", f"{url}?{query}", bearer_header(settings.access_token))


def _create(settings: MetaAdsSettings, name: str) -> DestinationRequest:
    content = {"name": name, "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"}
    url = f"{API}/act_{settings.ad_account_id}/customaudiences"
    return json_request(url, content, id="", rows=[], headers=bearer_header(settings.access_token))


def _failed(answer: Answer) -> CallOutcome | None:
    """Its error codes say more than its statuses: too many calls is a 400."""
    error = decoded(answer.body).get("error")
    # Before the status: it would be read as a refusal of everybody, and the subscription suspended.
    if isinstance(error, dict) and (error.get("code") in TOO_MANY or error.get("is_transient")):
        return CallOutcome("retry", answer.text(), PAUSE_S)
    return None if answer.ok else outcome_of(answer)


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    return read_unnamed(request, _failed(answer) or DELIVERED)


def test(settings: MetaAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for the name of the ad account."""
    url = f"{API}/act_{settings.ad_account_id}?fields=name"
    return DestinationRequest(test_id(now), [], "GET", url, bearer_header(settings.access_token))


adapter = Adapter(
    kind="meta_ads",
    label="Meta Custom Audiences",
    description="Fills a Custom Audience for Facebook and Instagram with hashed addresses and numbers, and mobile ids.",
    settings=MetaAdsSettings,
    options=AdvertisingOptions,
    capabilities=list_capabilities(
        COMPARED,
        DocumentedLimit.people(10_000, "2026-11", "developers.facebook.com, Custom Audience Users"),
        per_second=2,
    ),
    plan=plan,
    read=read,
    test=test,
    steps=audience_steps(
        _find,
        lambda answer, name: id_of_named(looked_up(answer, "data"), name),
        _create,
        lambda answer: decoded(answer.body).get("id"),
        failed=_failed,
    ),
    credentials=(
        "In Meta: Business settings, System users: one with the ad account assigned; Generate new token, with "
        "ads_management. The terms of Custom Audiences must be accepted once in the Ads Manager."
    ),
    unread=UNREAD,
)
