"""Salesforce: members of a campaign, among the contacts that are there."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated
from urllib.parse import urlencode, urlsplit

from destinations.rules.advertising import by_direction
from destinations.rules.contract import (
    DELIVERED,
    Adapter,
    AdapterStep,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    FieldNames,
    MembersPage,
    MembersReading,
    PayloadComputation,
    read_by_status,
    test_id,
)
from destinations.rules.lists import LIST, list_steps
from destinations.rules.oauth import bearer, token_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import as_text, decoded, email_of, in_small_letters, json_request, looked_up
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

MEMBERS_READ = 2_000  # in an answer, which has no more by itself
VERSION = "/services/data/v62.0"


class SalesforceSettings(SettingsDeclaration, frozen=True):
    domain: Annotated[str, text("My Domain", url=True, help="Such as https://acme.my.salesforce.com")]
    client_id: Annotated[str, text("Consumer key")]
    client_secret: Annotated[str, secret("Consumer secret")]

    def check(self) -> None:
        # The secret is sent there: to nobody but Salesforce.
        if not self.domain.startswith("https://") or not (urlsplit(self.domain).hostname or "").endswith(
            ".salesforce.com"
        ):
            raise InvalidSetting("domain", "Begins with https:// and ends with .salesforce.com")


class SalesforceOptions(SettingsDeclaration, frozen=True):
    campaign: Annotated[
        str, text("Campaign", help="Created when there is none. Empty: the name of the audience", max_length=80)
    ] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: SalesforceSettings, options: SalesforceOptions, now: datetime
) -> list[DestinationRequest]:
    """Who it is in Salesforce, and then their memberships."""
    # Contacts are looked up each time: their ids are not ours to keep, and somebody may merge them there.
    campaign, requests = about.remembered[LIST], []
    for entering, rows in by_direction(changes):
        emails = ", ".join(_quoted(str(row.address.email)) for row in rows)
        if entering:
            query = f"SELECT Id, Email FROM Contact WHERE Email IN ({emails})"
        else:
            members = f"CampaignId = {_quoted(campaign)} AND Contact.Email IN ({emails})"
            query = f"SELECT Id, ContactId, Contact.Email FROM CampaignMember WHERE {members}"
        then = partial(_added if entering else _removed, settings, campaign, rows)
        url = _query(settings, query)
        requests.append(DestinationRequest(f"{batch_id(rows)}-query", rows, "GET", url, then=then))
    return requests


def _added(settings: SalesforceSettings, campaign: str, rows: Changes, answer: Answer) -> list[DestinationRequest]:
    ids: dict[str, str] = {}
    for record in looked_up(answer, "records"):  # of several contacts with one address, the first
        ids.setdefault(str(record["Email"]).lower(), record["Id"])
    known = [row for row in rows if email_of(row) in ids]
    records = [
        {
            "attributes": {"type": "CampaignMember"},
            "CampaignId": campaign,
            "ContactId": ids[email_of(row)],
        }
        for row in known
    ]
    if not known:
        return []
    # One contact that is locked must not keep the others out.
    content = {"allOrNone": False, "records": records}
    added = json_request(_collection(settings), content, id=batch_id(known), rows=known)
    return [*_updated(settings, known, ids), added]


def _updated(settings: SalesforceSettings, rows: Changes, contacts: Mapping[str, str]) -> list[DestinationRequest]:
    """The fields that go besides are those of the contacts. contacts: {address in small letters: its id}."""
    rows = [row for row in rows if row.fields]
    records = [
        {
            **{
                name: as_text(value, between=";") if isinstance(value, list) else value
                for name, value in row.fields.items()
            },
            "attributes": {"type": "Contact"},
            "id": contacts[email_of(row)],
        }
        for row in rows
    ]
    content, id = {"allOrNone": False, "records": records}, f"{batch_id(rows)}-fields"
    return [json_request(_collection(settings), content, id=id, rows=rows, method="PATCH")] if rows else []


def _removed(settings: SalesforceSettings, campaign: str, rows: Changes, answer: Answer) -> list[DestinationRequest]:
    """Whoever is no member is out already."""
    # Members are deleted by the id of the membership, not of the contact.
    records = {str(record["Contact"]["Email"]).lower(): record for record in looked_up(answer, "records")}
    ids = {email: record["Id"] for email, record in records.items()}
    known = [row for row in rows if email_of(row) in ids]
    query = urlencode({"ids": ",".join(ids[email_of(row)] for row in known), "allOrNone": "false"})
    if not known:
        return []
    contacts = {email: record["ContactId"] for email, record in records.items()}
    removed = DestinationRequest(batch_id(known), known, "DELETE", f"{_collection(settings)}?{query}")
    return [*_updated(settings, known, contacts), removed]


def _collection(settings: SalesforceSettings) -> str:
    return f"{settings.domain.rstrip('/')}{VERSION}/composite/sobjects"


def _query(settings: SalesforceSettings, query: str) -> str:
    return f"{settings.domain.rstrip('/')}{VERSION}/query?{urlencode({'q': query})}"


def _members(
    about: PayloadComputation, settings: SalesforceSettings, options: SalesforceOptions, following: str
) -> DestinationRequest:
    # In the order of their ids, and from behind the last: what was read may change while it is read.
    after = f" AND Id > {_quoted(following)}" if following else ""
    inside = f"CampaignId = {_quoted(about.remembered[LIST])} AND ContactId != null{after}"
    query = f"SELECT Id, Contact.Email FROM CampaignMember WHERE {inside} ORDER BY Id LIMIT {MEMBERS_READ}"
    return DestinationRequest("members", [], "GET", _query(settings, query))


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    records = looked_up(answer, "records")
    emails = [(record["Contact"] or {}).get("Email") for record in records]
    following = records[-1]["Id"] if len(records) == MEMBERS_READ else ""
    return MembersPage([email.lower() for email in emails if email], following)


def _quoted(text: str) -> str:
    """A text in SOQL."""
    # An address may have a quote in it, and a query of another meaning must not be made of it.
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """A collection is answered by a list, in the order of its records; a repetition finds what it did before."""
    if answer.ok and request.then:
        unknown = CallOutcome("refused", "Salesforce has no contact with this address")
        return [unknown if row.entering else DELIVERED for row in request.rows]
    # An array: `decoded` takes objects alone.
    results = decoded(b'{"results":' + answer.body + b"}").get("results") if answer.ok else None
    if not isinstance(results, list) or len(results) != len(request.rows):
        return read_by_status(request, answer)
    outcomes = []
    for result in results:
        error = (result.get("errors") or [{}])[0]
        code, reason = error.get("statusCode"), f"{error.get('statusCode')}: {error.get('message')}"
        if result.get("success") or code in {"DUPLICATE_VALUE", "ENTITY_IS_DELETED"}:
            outcomes.append(DELIVERED)
        elif code in {"UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED"}:
            outcomes.append(CallOutcome("retry", reason))
        else:
            outcomes.append(CallOutcome("refused", reason))
    return outcomes


TOKEN = token_step(
    lambda settings: f"{settings.domain.rstrip('/')}/services/oauth2/token",
    lambda settings, remembered: {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
    },
)


def test(settings: SalesforceSettings, now: datetime) -> DestinationRequest:
    """Asks for one campaign."""
    url = _query(settings, "SELECT Id FROM Campaign LIMIT 1")
    return DestinationRequest(test_id(now), [], "GET", url)


STEPS: tuple[AdapterStep, ...] = (
    TOKEN,
    *list_steps(
        lambda settings, name: DestinationRequest(
            "", [], "GET", _query(settings, f"SELECT Id FROM Campaign WHERE Name = {_quoted(name)} LIMIT 1")
        ),
        lambda answer, name: next((record["Id"] for record in looked_up(answer, "records")), None),
        lambda settings, name: json_request(
            f"{settings.domain.rstrip('/')}{VERSION}/sobjects/Campaign",
            {"Name": name, "IsActive": True},
            id="",
            rows=[],
        ),
        lambda answer: decoded(answer.body).get("id"),
        name=lambda about, options: options.campaign or about.name[:80],
    ),
)


adapter = Adapter(
    kind="salesforce",
    label="Salesforce",
    description="Keeps the members of a campaign, among the contacts that are there, by their e-mail address.",
    settings=SalesforceSettings,
    options=SalesforceOptions,
    capabilities=Capabilities(
        styles=("list",),
        batch=100,
        per_second=5,
        identifiers=("email",),
        fields=FieldNames(r"[A-Za-z][A-Za-z0-9_]{0,79}", "The API name of a field of contacts, such as Tier__c"),
        limits=(
            DocumentedLimit.people(200, "2026-11", "developer.salesforce.com, sObject Collections"),
            DocumentedLimit(16_000, "characters in the address of a query", "2026-11", "developer.salesforce.com"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=STEPS,
    authorize=bearer,
    credentials=(
        "In Salesforce: Setup, External Client App Manager: a new app with OAuth, the scope api and the client "
        "credentials flow, run as a user who may edit campaigns; then the consumer key and secret."
    ),
    members=MembersReading(_members, _members_page, in_small_letters, "e-mail address"),
)
