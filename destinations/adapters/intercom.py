"""Intercom: a tag on each contact, or a custom attribute with the value of a computed trait."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    DELIVERED,
    Adapter,
    AdapterStep,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    MembersPage,
    MembersReading,
    PayloadComputation,
    RememberedAnswer,
    outcome_of,
    read_by_status,
    test_id,
)
from destinations.rules.vendors import (
    bearer_header,
    decoded,
    json_request,
    looked_up,
    named_by,
    user_id_or_email,
)
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, label, secret, text

HOSTS = {"US": "https://api.intercom.io", "EU": "https://api.eu.intercom.io", "AU": "https://api.au.intercom.io"}
VERSION = "2.11"  # of the API
READ = 150  # contacts in an answer, at most


class IntercomSettings(SettingsDeclaration, frozen=True):
    access_token: Annotated[str, secret("Access token")]
    region: Annotated[Literal["US", "EU", "AU"], label("Region")] = "US"
    create_contacts: Annotated[
        bool, label("Create contacts", help="Whoever enters and is not known. Off: they are refused")
    ] = False


class IntercomOptions(SettingsDeclaration, frozen=True):
    tag: Annotated[str, text("Tag", help="Created when there is none. Empty: the audience's name", max_length=100)] = ""


class IntercomTraitOptions(SettingsDeclaration, frozen=True):
    attribute: Annotated[str, text("Custom attribute", help="It must exist. Empty: the key of the trait")] = ""


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: IntercomSettings,
    options: IntercomOptions | IntercomTraitOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """For each row: who it is in Intercom, and then the custom attributes, which must be there, and the tag."""

    def apply(change: IdentifierChange, contact: str) -> list[DestinationRequest]:
        requests, attributes = [], dict(change.fields)
        if isinstance(options, IntercomTraitOptions):
            attributes[options.attribute or about.key] = change.value
        if attributes:
            content = {"custom_attributes": attributes}
            requests.append(_call(settings, f"/contacts/{contact}", content, f"{change.id}-set", change, method="PUT"))
        if isinstance(options, IntercomOptions):
            tag, id = about.remembered["tag_id"], f"{change.id}-tag"
            requests.append(
                _call(settings, f"/contacts/{contact}/tags", {"id": tag}, id, change)
                if change.entering
                else _call(settings, f"/contacts/{contact}/tags/{tag}", None, id, change, method="DELETE")
            )
        return requests

    def follow(change: IdentifierChange, answer: Answer) -> list[DestinationRequest]:
        # Of several contacts with one address the first, as Intercom lists them.
        known = [str(entry["id"]) for entry in looked_up(answer, "data")]
        if known:
            return apply(change, known[0])
        if not (change.entering and settings.create_contacts):
            return []
        address = change.address
        ids = {"external_id": address.user_id, "email": address.email}
        contact = {"role": "user", **{name: value for name, value in ids.items() if value}}
        request = _call(settings, "/contacts", contact, f"{change.id}-create", change)
        return [replace(request, then=lambda created: apply(change, str(decoded(created.body)["id"])))]

    requests = []
    for change in changes:
        field = "external_id" if change.address.user_id else "email"
        query = {"field": field, "operator": "=", "value": change.address.user_id or change.address.email}
        search = _call(settings, "/contacts/search", {"query": query}, f"{change.id}-search", change)
        requests.append(replace(search, then=partial(follow, change)))
    return requests


def _call(
    settings: IntercomSettings, path: str, content: Any, id: str, change: IdentifierChange | None, method: str = "POST"
) -> DestinationRequest:
    headers = {**bearer_header(settings.access_token), "intercom-version": VERSION}
    url, rows = HOSTS[settings.region] + path, [change] if change else []
    if content is None:
        return DestinationRequest(id, rows, method, url, headers)
    return json_request(url, content, id=id, rows=rows, headers=headers, method=method)


def _members(
    about: PayloadComputation, settings: IntercomSettings, options: Any, following: str
) -> DestinationRequest | None:
    """Who has the tag. developers.intercom.com, "Search contacts", November 2026."""
    if not isinstance(options, IntercomOptions):
        return None
    pages = {"per_page": READ, **({"starting_after": following} if following else {})}
    query = {"field": "tag_id", "operator": "=", "value": about.remembered["tag_id"]}
    return _call(settings, "/contacts/search", {"query": query, "pagination": pages}, "members", None)


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    following = (decoded(answer.body).get("pages") or {}).get("next") or {}
    names = named_by(looked_up(answer, "data"), "external_id")
    return MembersPage(names, str(following.get("starting_after") or ""))


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """Whoever leaves need not be there; whoever enters is refused while contacts are not created."""
    if answer.status == 404 and request.method == "DELETE":
        return [DELIVERED] * len(request.rows)
    if answer.ok and request.url.endswith("/search"):
        unknown = CallOutcome("refused", "Intercom has no such contact")
        return [unknown if row.entering else DELIVERED for row in request.rows]
    return read_by_status(request, answer)


def _tag(about: PayloadComputation, settings: IntercomSettings, options: Any, now: datetime) -> Any:
    """An answer with the tag, whether it was there or not."""
    if not isinstance(options, IntercomOptions):
        return None
    # Creating one that is there answers with it: one step does for both.
    return _call(settings, "/tags", {"name": options.tag or about.name}, "tag", None)


def test(settings: IntercomSettings, now: datetime) -> DestinationRequest:
    """Asks whose token it is."""
    return _call(settings, "/me", None, test_id(now), None, method="GET")


adapter = Adapter(
    kind="intercom",
    label="Intercom",
    description="Tags contacts, and sets custom attributes, by user ID or e-mail address.",
    settings=IntercomSettings,
    options=IntercomOptions,
    trait_options=IntercomTraitOptions,
    # One person after the other: side by side, a request to wait would find all of them half done, again and again.
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=50,
        identifiers=("user_id", "email"),
        limits=(DocumentedLimit.requests(10_000 / 60, "2026-11", "developers.intercom.com, Rate limiting"),),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=(
        AdapterStep(
            "tag_id",
            _tag,
            lambda request, answer: (
                RememberedAnswer({"tag_id": str(decoded(answer.body)["id"])}) if answer.ok else outcome_of(answer)
            ),
        ),
    ),
    members=MembersReading(
        _members,
        _members_page,
        user_id_or_email,
        "user ID or e-mail address",
        wants="Only whom an audience holds is compared",
    ),
    credentials="In Intercom: Settings, Integrations, Developer hub, New app, Authentication: the access token.",
)
