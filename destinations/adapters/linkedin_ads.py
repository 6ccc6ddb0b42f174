"""LinkedIn: a Matched Audience of an ad account, filled with hashed addresses and Google's mobile ids."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from destinations.rules.advertising import (
    ANDROID_ID,
    AdvertisingOptions,
    ComparedTypes,
    compared_value,
    name_there,
    read_unnamed,
)
from destinations.rules.contract import (
    DELIVERED,
    PEOPLE,
    REQUESTS,
    Adapter,
    CallOutcome,
    Capabilities,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
    outcome_of,
)
from destinations.rules.hashing import hashed_email, lower
from destinations.rules.lists import LIST, list_steps
from destinations.rules.oauth import bearer, refreshed, token_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import decoded, entries_of, json_request, looked_up
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

API = "https://api.linkedin.com/rest/dmpSegments"
# Telephone numbers, and the ids of Apple's telephones, it does not take.
COMPARED: ComparedTypes = {"email": ("SHA256_EMAIL", hashed_email), ANDROID_ID: ("GOOGLE_AID", lower)}
VERSION = "202610"  # of the API; LinkedIn keeps one for a year


class LinkedinAdsSettings(SettingsDeclaration, frozen=True):
    client_id: Annotated[str, text("Client ID")]
    client_secret: Annotated[str, secret("Client secret")]
    refresh_token: Annotated[str, secret("Refresh token")]
    ad_account_id: Annotated[str, text("Ad account ID", help="Its digits, as in the address of the Campaign Manager")]

    def check(self) -> None:
        if not self.ad_account_id.isdecimal():
            raise InvalidSetting("adAccountId", "Give the digits of the ad account")


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: LinkedinAdsSettings,
    options: AdvertisingOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for all."""
    elements = []
    for row in changes:
        name, value = compared_value(row, COMPARED)
        user_ids = [{"idType": name, "idValue": value}]
        elements.append({"action": "ADD" if row.entering else "REMOVE", "userIds": user_ids})
    url, headers = f"{API}/{about.remembered[LIST]}/users", _headers() | {"x-restli-method": "BATCH_CREATE"}
    return [json_request(url, {"elements": elements}, id=batch_id(changes), rows=changes, headers=headers)]


def _headers() -> dict[str, str]:
    return {"linkedin-version": VERSION, "x-restli-protocol-version": "2.0.0"}


def _find(settings: LinkedinAdsSettings, name: str) -> DestinationRequest:
    account = f"urn:li:sponsoredAccount:{settings.ad_account_id}"
    return DestinationRequest(
        "", [], "GET", f"{API}?{urlencode({'q': 'account', 'account': account, 'count': 500})}", _headers()
    )


def _create(settings: LinkedinAdsSettings, name: str) -> DestinationRequest:
    content = {
        "name": name,
        "account": f"urn:li:sponsoredAccount:{settings.ad_account_id}",
        "accessPolicy": "PRIVATE",
        "type": "USER",
        "destinations": [{"destination": "LINKEDIN"}],
    }
    return json_request(API, content, id="", rows=[], headers=_headers())


def _created(answer: Answer) -> Any:
    """In a header; the body is empty."""
    return answer.headers.get("x-restli-id") or decoded(answer.body).get("id")


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """A status for each element, in their order."""
    elements = entries_of(answer, "elements")
    if not answer.ok or len(elements) != len(request.rows):
        return read_unnamed(request, answer)
    return [_outcome(element) for element in elements]


def _outcome(element: dict[str, Any]) -> CallOutcome:
    status = element.get("status")
    outcome = outcome_of(Answer(status if isinstance(status, int) else 200))
    return (
        DELIVERED
        if outcome == DELIVERED
        else CallOutcome(outcome.kind, f"{status} {element.get('message', '')}".strip())
    )


def test(settings: LinkedinAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for the audiences that are there."""
    return DestinationRequest(f"test-{int(now.timestamp() * 1000)}", [], "GET", _find(settings, "").url, _headers())


adapter = Adapter(
    kind="linkedin_ads",
    label="LinkedIn Matched Audiences",
    description="Fills a Matched Audience of an ad account with hashed e-mail addresses and ids of Android.",
    settings=LinkedinAdsSettings,
    options=AdvertisingOptions,
    capabilities=Capabilities(
        styles=("list",),
        batch=500,
        per_second=5,
        identifiers=(*COMPARED,),
        fields=None,
        limits=(
            DocumentedLimit(5_000, PEOPLE, "2026-11", "learn.microsoft.com, LinkedIn, DMP Segment Users"),
            DocumentedLimit(10, REQUESTS, "2026-11", "learn.microsoft.com, LinkedIn, DMP Segment Users, 600 a minute"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=(
        token_step(
            lambda settings: "https://www.linkedin.com/oauth/v2/accessToken",
            lambda settings, remembered: refreshed(
                settings.client_id, settings.client_secret, remembered.get("refresh_token", settings.refresh_token)
            ),
        ),
        *list_steps(
            _find,
            lambda answer, name: next(
                (each["id"] for each in looked_up(answer, "elements") if each.get("name") == name), None
            ),
            _create,
            _created,
            name=name_there,
        ),
    ),
    authorize=bearer,
    credentials=(
        "In LinkedIn: Developers, an app that is approved for the Audiences programme; Auth has the client's ID and "
        "secret. Its token generator gives a refresh token, with rw_ads and rw_dmp_segments, which lasts for a year."
    ),
)
