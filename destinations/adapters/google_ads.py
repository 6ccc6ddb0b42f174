"""Google Ads: a Customer Match list, filled with hashed addresses and numbers, or mobile ids, by Data Manager."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.advertising import (
    ANDROID_ID,
    IDFA,
    UNREAD,
    ComparedTypes,
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
from destinations.rules.hashing import google_hashed_email, hashed_e164, lower
from destinations.rules.oauth import RefreshedSettings, bearer, refresh_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import json_request
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, text

API = "https://datamanager.googleapis.com/v1"
MOBILE_ID = "mobileId"
COMPARED: ComparedTypes = {
    "email": ("emailAddress", google_hashed_email),
    "phone": ("phoneNumber", hashed_e164),
    IDFA: (MOBILE_ID, lower),
    ANDROID_ID: (MOBILE_ID, lower),
}
CONSENT_HELP = "What people in the European Economic Area have said to their data being used for advertising"
TOKEN = refresh_step("https://oauth2.googleapis.com/token")


class GoogleAdsSettings(RefreshedSettings, frozen=True):
    customer_id: Annotated[str, text("Customer ID", help="Of the Google Ads account: ten digits, without dashes")]
    login_customer_id: Annotated[str, text("Manager's customer ID", help="Where access is by a manager account")] = ""
    consent: Annotated[Literal["not stated", "granted", "denied"], label("Consent", help=CONSENT_HELP)] = "not stated"

    def check(self) -> None:
        for name, value in (("customerId", self.customer_id), ("loginCustomerId", self.login_customer_id or "0")):
            if not value.isdecimal():
                raise InvalidSetting(name, "Give the digits alone, without dashes")


class GoogleAdsOptions(SettingsDeclaration, frozen=True):
    user_list_id: Annotated[
        str,
        text(
            "Customer list ID",
            help="In Google Ads: Audience manager, a customer list; the digits in its address. A list has either "
            "addresses and telephone numbers, or the advertising ids of one app",
        ),
    ] = ""

    def check(self) -> None:
        if not self.user_list_id.isdecimal():
            raise InvalidSetting("userListId", "Give the digits of a customer list, which must exist")


def plan(
    changes: Changes, about: PayloadComputation, settings: GoogleAdsSettings, options: GoogleAdsOptions, now: datetime
) -> list[DestinationRequest]:
    """One request for each direction and type of identifier. Google answers before it is done, and names nobody."""
    account: dict[str, Any] = {"accountType": "GOOGLE_ADS", "accountId": settings.customer_id}
    destination = {"operatingAccount": account, "productDestinationId": options.user_list_id}
    if settings.login_customer_id:
        destination["loginAccount"] = {**account, "accountId": settings.login_customer_id}
    requests = []
    for entering, name, rows, values in by_direction_and_type(changes, COMPARED):
        content: dict[str, Any] = {"destinations": [destination]}
        if name == MOBILE_ID:
            content["audienceMembers"] = [{"mobileData": {"mobileIds": [value]}} for value in values]
        else:
            content["audienceMembers"] = [{"userData": {"userIdentifiers": [{name: value}]}} for value in values]
            content["encoding"] = "HEX"
        if entering:  # whoever is taken out needs neither terms nor consent
            content["termsOfService"] = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
            if settings.consent != "not stated":
                stated = f"CONSENT_{settings.consent.upper()}"
                content["consent"] = {"adUserData": stated, "adPersonalization": stated}
        url = f"{API}/audienceMembers:{'ingest' if entering else 'remove'}"
        requests.append(json_request(url, content, id=batch_id(rows), rows=rows))
    return requests


def test(settings: GoogleAdsSettings, now: datetime) -> DestinationRequest:
    """Asks for a token once more, about no audience: everything else that the scope allows changes a list."""
    request = TOKEN.ask(PayloadComputation("", "", "", ""), settings, None, now)
    assert request is not None
    return replace(request, id=test_id(now))


adapter = Adapter(
    kind="google_ads",
    label="Google Customer Match",
    description="Fills a customer list, which must exist, with hashed addresses and numbers, or mobile ids.",
    settings=GoogleAdsSettings,
    options=GoogleAdsOptions,
    capabilities=list_capabilities(
        COMPARED, DocumentedLimit.people(10_000, "2026-11", "developers.google.com/data-manager, Limits")
    ),
    plan=plan,
    read=read_unnamed,
    test=test,
    steps=(TOKEN,),
    authorize=bearer,
    credentials=(
        "In Google Cloud: enable the Data Manager API; APIs and services, Credentials, an OAuth client. Authorise it "
        "once with the scope https://www.googleapis.com/auth/datamanager as somebody with access to the Google Ads "
        "account; the answer has a refresh token. The terms of Customer Match must be accepted in Google Ads."
    ),
    unread=UNREAD,
)
