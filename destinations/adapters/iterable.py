"""Iterable: a field of the user, and an event that starts journeys, both in bulk."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from destinations.rules.contract import (
    Adapter,
    Address,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    MembersPage,
    MembersReading,
    PayloadComputation,
    read_by_status,
    test_id,
)
from destinations.rules.lists import LIST, LIST_HELP, LONGEST_NAME, list_steps
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id
from destinations.rules.vendors import (
    EMAIL_HELP,
    decoded,
    email_to_set,
    event_properties,
    id_of_named,
    json_request,
    looked_up,
    refused_rows,
)
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, label, secret, text

HOSTS = {"US": "https://api.iterable.com", "EU": "https://api.eu.iterable.com"}


class IterableSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[
        str, secret("API key", help="In Iterable: Integrations, API keys; a standard (server-side) key of the project")
    ]
    region: Annotated[Literal["US", "EU"], label("Data center")] = "US"
    identify_by: Annotated[
        Literal["email", "user ID"],
        label("Users are identified by", help="As the project does it: Settings, Project settings. Hybrid: user ID"),
    ] = "email"
    send_email: Annotated[bool, label("Send e-mail addresses", help=EMAIL_HELP)] = True


class IterableOptions(EventOptions, frozen=True):
    list_name: Annotated[str, text("Static list", help=LIST_HELP, max_length=LONGEST_NAME)] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: IterableSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """A bulk update for all, then their events in bulk; or their places in a list."""
    if about.remembered.get(LIST):
        return _memberships(changes, settings, about.remembered[LIST])
    users = [_user(change, settings) for change in changes]
    id, requests = batch_id(changes), []
    if options.send_identify:
        # Assumed: null empties a field. A field that the project does not have yet is created, if its settings allow.
        fields = [{"dataFields": {**change.fields, about.key: options.value(change)}} for change in changes]
        content: dict[str, Any] = {"users": [user | field for user, field in zip(users, fields, strict=True)]}
        requests.append(_post(settings, "/api/users/bulkUpdate", content, f"{id}-identify", changes))
    if options.send_track:
        events = [
            {
                **{name: value for name, value in user.items() if name != "preferUserId"},
                "id": f"{change.id}-track",  # an event with the id of another takes its place
                "eventName": options.event(change),
                "createdAt": int(change.at.timestamp()),
                "dataFields": event_properties(change, about, options),
            }
            for user, change in zip(users, changes, strict=True)
        ]
        requests.append(_post(settings, "/api/events/trackBulk", {"events": events}, f"{id}-track", changes))
    return requests


def _memberships(changes: Changes, settings: IterableSettings, list_id: str) -> list[DestinationRequest]:
    """Whom Iterable does not know yet it creates."""
    requests = []
    for verb, rows in (
        ("subscribe", [row for row in changes if row.entering]),
        ("unsubscribe", [row for row in changes if not row.entering]),
    ):
        people = [{name: value for name, value in _user(row, settings).items() if name != "email"} for row in rows]
        people = [
            (user or {"email": row.address.email})
            | ({"dataFields": dict(row.fields)} if row.entering and row.fields else {})
            for user, row in zip(people, rows, strict=True)
        ]
        # A preview may not know the number yet.
        content = {"listId": int(list_id) if list_id.isdecimal() else list_id, "subscribers": people}
        if rows:
            requests.append(_post(settings, f"/api/lists/{verb}", content, f"{batch_id(rows)}-{verb}", rows))
    return requests


def _members(
    about: PayloadComputation, settings: IterableSettings, options: IterableOptions, following: str
) -> DestinationRequest | None:
    """Of a list, a line each. Assumed: who has a user ID is named by it where it is asked for, and by the address else.

    Whether a user has a field can be asked of one user at a time, or by an export that takes hours.
    """
    if not about.remembered.get(LIST):
        return None
    # As people are sent: else the same person would have two names.
    prefers = str(settings.identify_by != "email").lower()
    query = urlencode({"listId": about.remembered[LIST], "preferUserId": prefers})
    return DestinationRequest(
        "members", [], "GET", f"{HOSTS[settings.region]}/api/lists/getUsers?{query}", _key(settings)
    )


def _name(address: Address, settings: IterableSettings) -> str:
    # A project has one way to know its users; by the other it would create a second one.
    by_email = address.email is not None and (settings.identify_by == "email" or address.user_id is None)
    return str(address.email if by_email else address.user_id)


def _user(change: IdentifierChange, settings: IterableSettings) -> dict[str, Any]:
    name = _name(change.address, settings)
    if name != change.address.user_id:
        return {"email": name}
    # Without it, a project that knows its users by e-mail refuses a user ID that it has not seen.
    return {"userId": name, "preferUserId": True, **email_to_set(change, wanted=settings.send_email)}


def _post(settings: IterableSettings, path: str, content: object, id: str, rows: Changes) -> DestinationRequest:
    return json_request(HOSTS[settings.region] + path, content, id=id, rows=rows, headers=_key(settings))


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """200 names, in lists by their reason, the users that were refused, and the events that the project does not take.

    Such as {"failedUpdates": {"invalidEmails": ["no"], "conflictUserIds": []}, "disallowedEventNames": []}.
    """
    content = decoded(answer.body)
    below = content.get("failedUpdates")
    lists = {
        name: {str(value) for value in values}
        for name, values in [*content.items(), *(below.items() if isinstance(below, dict) else ())]
        if isinstance(values, list) and values
    }
    if not answer.ok or not lists:
        return read_by_status(request, answer)
    # The answer names users, not places: which row each was, the request says.
    body = decoded(request.body)
    reasons = {}
    for number, entry in enumerate(body.get("users") or body.get("subscribers") or body["events"]):
        # By any of the three it may be named: the lists say which of them they hold only by their names.
        own = {entry.get("email"), entry.get("userId"), entry.get("eventName")} - {None}
        named = [name for name, values in lists.items() if own & values]
        if named:
            reasons[number] = f"Iterable: {', '.join(named)}"
    return refused_rows(request, reasons)


def test(settings: IterableSettings, now: datetime) -> DestinationRequest:
    """Asks for the names of the project's fields."""
    url = f"{HOSTS[settings.region]}/api/users/getFields"
    return DestinationRequest(test_id(now), [], "GET", url, _key(settings))


def _key(settings: IterableSettings) -> dict[str, str]:
    return {"api-key": settings.api_key}


adapter = Adapter(
    kind="iterable",
    label="Iterable",
    description="Sets a field of each user, and sends events that start journeys; or keeps a static list.",
    settings=IterableSettings,
    options=IterableOptions,
    trait_options=TraitOptions,
    capabilities=Capabilities(
        styles=("event",),
        batch=500,
        per_second=5,
        identifiers=("user_id", "email"),
        largest_body=4000000,
        limits=(
            DocumentedLimit.people(1000, "2026-11", "api.iterable.com/api/docs, as RudderStack quotes it"),
            DocumentedLimit.bytes(4000000, "2026-11", "api.iterable.com/api/docs, as RudderStack quotes it"),
            DocumentedLimit.requests(5, "2026-11", "api.iterable.com/api/docs, bulk updates, as Hookdeck quotes it"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=list_steps(
        lambda settings, name: DestinationRequest("", [], "GET", HOSTS[settings.region] + "/api/lists", _key(settings)),
        lambda answer, name: id_of_named(looked_up(answer, "lists"), name),
        lambda settings, name: _post(settings, "/api/lists", {"name": name}, "", []),
        lambda answer: decoded(answer.body).get("listId"),
    ),
    members=MembersReading(
        _members, lambda request, answer: MembersPage(answer.body.decode().split()), _name, "user ID or e-mail address"
    ),
)
