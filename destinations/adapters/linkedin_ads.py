"""LinkedIn: a Matched Audience of an ad account, filled with hashed addresses and Google's mobile ids."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from destinations.rules.advertising import (
    ANDROID_ID,
    UNREAD,
    AdvertisingOptions,
    ComparedTypes,
    audience_steps,
    compared_value,
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
from destinations.rules.hashing import hashed_email, lower
from destinations.rules.lists import LIST
from destinations.rules.oauth import RefreshedSettings, bearer, refresh_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import decoded, entries_of, id_of_named, json_request, looked_up
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, text

API = "https://api.linkedin.com/rest/dmpSegments"
# Telephone numbers, and the ids of Apple's telephones, it does not take.
COMPARED: ComparedTypes = {"email": ("SHA256_EMAIL", hashed_email), ANDROID_ID: ("GOOGLE_AID", lower)}
# The version of the API by its month; LinkedIn keeps one for a year.
HEADERS = {"linkedin-version": "202610", "x-restli-protocol-version": "2.0.0"}


class LinkedinAdsSettings(RefreshedSettings, frozen=True):
    ad_account_id: Annotated[str, text("Ad account ID", help="Its digits, as in the address of the Campaign Manager")]

    def check(self) -> None:
        if not self.ad_account_id.isdecimal():
            raise InvalidSetting("adAccountId", "Give the digits of the ad account")


def plan(
    changes: Changes,
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
    # A batch of creations, though some are removals: each element says what it does.
    url, headers = f"{API}/{about.remembered[LIST]}/users", HEADERS | {"x-restli-method": "BATCH_CREATE"}
    return [json_request(url, {"elements": elements}, id=batch_id(changes), rows=changes, headers=headers)]


def _account(settings: LinkedinAdsSettings) -> str:
    return f"urn:li:sponsoredAccount:{settings.ad_account_id}"


def _find(settings: LinkedinAdsSettings, name: str) -> DestinationRequest:
    query = urlencode({"q": "account", "account": _account(settings), "count": 500})
    return DestinationRequest("", [], "GET", f"{API}?{query}", HEADERS)


def _create(settings: LinkedinAdsSettings, name: str) -> DestinationRequest:
    content = {
        "name": name,
        "account": _account(settings),
        "accessPolicy": "PRIVATE",
        "type": "USER",
        "destinations": [{"destination": "LINKEDIN"}],
    }
    return json_request(API, content, id="", rows=[], headers=HEADERS)


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """A status for each element, in their order."""
    elements = entries_of(answer, "elements")
    if not answer.ok or len(elements) != len(request.rows):
        return read_unnamed(request, answer)
    outcomes = []
    for element in elements:
        # The batch as a whole is a 200, whatever becomes of its elements.
        status = element.get("status")
        outcome = outcome_of(Answer(status if isinstance(status, int) else 200))
        reason = "" if outcome == DELIVERED else f"{status} {element.get('message', '')}".strip()
        outcomes.append(CallOutcome(outcome.kind, reason))
    return outcomes


def test(settings: LinkedinAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for the audiences that are there."""
    return replace(_find(settings, ""), id=test_id(now))


adapter = Adapter(
    kind="linkedin_ads",
    label="LinkedIn Matched Audiences",
    description="Fills a Matched Audience of an ad account with hashed e-mail addresses and ids of Android.",
    settings=LinkedinAdsSettings,
    options=AdvertisingOptions,
    capabilities=list_capabilities(
        COMPARED,
        DocumentedLimit.people(5_000, "2026-11", "learn.microsoft.com, LinkedIn, DMP Segment Users"),
        DocumentedLimit.requests(10, "2026-11", "learn.microsoft.com, LinkedIn, DMP Segment Users, 600 a minute"),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=(
        refresh_step("https://www.linkedin.com/oauth/v2/accessToken"),
        *audience_steps(
            _find,
            lambda answer, name: id_of_named(looked_up(answer, "elements"), name),
            _create,
            # In a header; the body is empty.
            lambda answer: answer.headers.get("x-restli-id") or decoded(answer.body).get("id"),
        ),
    ),
    authorize=bearer,
    credentials=(
        "In LinkedIn: Developers, an app that is approved for the Audiences programme; Auth has the client's ID and "
        "secret. Its token generator gives a refresh token, with rw_ads and rw_dmp_segments, which lasts for a year."
    ),
    unread=UNREAD,
)
