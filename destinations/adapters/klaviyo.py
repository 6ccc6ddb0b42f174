"""Klaviyo: a property of the profile, by which segments and flows choose."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    MembersPage,
    MembersReading,
    PayloadComputation,
    test_id,
)
from destinations.rules.lists import LIST, LIST_HELP, LONGEST_NAME, list_steps
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import (
    PropertyOptions,
    as_json,
    decoded,
    email_of,
    in_small_letters,
    json_request,
    looked_up,
    value_of,
)
from spaces.answers import Answer
from spaces.chunks import chunks
from spaces.settings_schema import SettingsDeclaration, secret, text

API = "https://a.klaviyo.com/api"
LOOKED_UP = 100  # profiles in an answer, at most
REVISION = "2026-07-15"  # of the API; Klaviyo keeps one for two years


class KlaviyoSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[
        str,
        secret(
            "Private API key",
            help="In Klaviyo: Settings, API keys; with full access to Profiles, and to Lists; begins with pk_",
        ),
    ]


class KlaviyoOptions(PropertyOptions, frozen=True):
    list_name: Annotated[str, text("List", help=LIST_HELP, max_length=LONGEST_NAME)] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: KlaviyoSettings, options: PropertyOptions, now: datetime
) -> list[DestinationRequest]:
    """A request for each row: the import of many is not told whom it refused, and cannot take a property away.

    Places in a list are by ids of Klaviyo's own, which are asked for first; who has none is created.
    """
    if list_id := about.remembered.get(LIST):
        return [_look_up(rows, settings, list_id) for rows in chunks(changes, LOOKED_UP)]
    return [
        json_request(
            f"{API}/profile-import",
            {"data": _profile(change, about, options.property_name or about.key)},
            id=change.id,
            rows=[change],
            headers=_headers(settings),
        )
        for change in changes
    ]


def _look_up(rows: Changes, settings: KlaviyoSettings, list_id: str) -> DestinationRequest:
    """The ids of these people, and then their places in the list."""

    def placed(answer: Answer) -> list[DestinationRequest]:
        ids = {entry["attributes"]["email"].lower(): entry["id"] for entry in looked_up(answer, "data")}
        # Whoever enters with fields is told of as if they were new: it is the same person over there.
        own = [(row, None if row.entering and row.fields else ids.get(email_of(row))) for row in rows]
        # Entering and leaving are two calls, of as many as were looked up together.
        known = {
            entering: [(row, id) for row, id in own if id and row.entering == entering] for entering in (True, False)
        }
        places = [_place(pairs, settings, list_id) for pairs in known.values() if pairs]
        # Whoever leaves and is not known is in no list.
        return places + [create(row) for row, id in own if id is None and row.entering]

    def create(row: IdentifierChange) -> DestinationRequest:
        properties = {"properties": dict(row.fields)} if row.fields else {}
        profile = {"type": "profile", "attributes": {"email": row.address.email, **properties}}
        request = json_request(
            f"{API}/profile-import", {"data": profile}, id=row.id, rows=[row], headers=_headers(settings)
        )
        then = lambda answer: [_place([(row, decoded(answer.body)["data"]["id"])], settings, list_id)]  # noqa: E731
        return replace(request, then=then)

    emails = ",".join(as_json(row.address.email) for row in rows)
    fields = {"filter": f"any(email,[{emails}])", "fields[profile]": "email", "page[size]": str(LOOKED_UP)}
    url = f"{API}/profiles?{urlencode(fields)}"
    return DestinationRequest(batch_id(rows), rows, "GET", url, _headers(settings), then=placed)


def _place(
    people: Sequence[tuple[IdentifierChange, Any]], settings: KlaviyoSettings, list_id: str
) -> DestinationRequest:
    rows = [row for row, _ in people]
    method = "POST" if rows[0].entering else "DELETE"
    content = {"data": [{"type": "profile", "id": id} for _, id in people]}
    url = f"{API}/lists/{list_id}/relationships/profiles"
    return json_request(url, content, id=batch_id(rows), rows=rows, headers=_headers(settings), method=method)


def _members(
    about: PayloadComputation, settings: KlaviyoSettings, options: KlaviyoOptions, following: str
) -> DestinationRequest | None:
    """Of a list. Who has a property can be asked only by a segment, which somebody must have made."""
    if not about.remembered.get(LIST):
        return None
    fields = urlencode({"fields[profile]": "email", "page[size]": str(LOOKED_UP)})
    # The next page has an address of its own in the answer; nobody but Klaviyo gets the key, whatever it says.
    cursor = f"&{urlencode({'page[cursor]': following})}" if following else ""
    url = f"{API}/lists/{about.remembered[LIST]}/profiles?{fields}{cursor}"
    return DestinationRequest("members", [], "GET", url, _headers(settings))


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    following = urlsplit((decoded(answer.body).get("links") or {}).get("next") or "").query
    emails = [entry["attributes"]["email"] for entry in looked_up(answer, "data")]
    return MembersPage(
        [email.lower() for email in emails if email], next(iter(parse_qs(following).get("page[cursor]", [])), "")
    )


def _find(settings: KlaviyoSettings, name: str) -> DestinationRequest:
    url = f"{API}/lists?{urlencode({'filter': f'equals(name,{as_json(name)})'})}"
    return DestinationRequest("", [], "GET", url, _headers(settings))


def _create(settings: KlaviyoSettings, name: str) -> DestinationRequest:
    content = {"data": {"type": "list", "attributes": {"name": name}}}
    return json_request(f"{API}/lists", content, id="", rows=[], headers=_headers(settings))


def _profile(change: IdentifierChange, about: PayloadComputation, name: str) -> dict[str, Any]:
    value = value_of(change, about)
    profile: dict[str, Any] = {"type": "profile", "attributes": {"email": change.address.email}}
    if value is None:
        profile["meta"] = {"patch_properties": {"unset": name}}
    else:
        profile["attributes"]["properties"] = {name: value}
    if change.fields:
        profile["attributes"]["properties"] = {**change.fields, **profile["attributes"].get("properties", {})}
    return profile


def _headers(settings: KlaviyoSettings) -> dict[str, str]:
    return {
        "authorization": f"Klaviyo-API-Key {settings.api_key}",
        "revision": REVISION,
        "accept": "application/vnd.api+json",
        "content-type": "application/vnd.api+json",
    }


def test(settings: KlaviyoSettings, now: datetime) -> DestinationRequest:
    """Asks for the id of one profile."""
    url = f"{API}/profiles?fields%5Bprofile%5D=id&page%5Bsize%5D=1"
    return DestinationRequest(test_id(now), [], "GET", url, _headers(settings))


adapter = Adapter(
    kind="klaviyo",
    label="Klaviyo",
    description="Sets a property of each profile by its e-mail address, for segments and flows; or keeps a list.",
    settings=KlaviyoSettings,
    options=KlaviyoOptions,
    trait_options=PropertyOptions,
    capabilities=Capabilities(
        styles=("event",),
        batch=250,
        per_second=11,
        concurrency=4,
        identifiers=("email",),
        limits=(
            DocumentedLimit(75, "requests in a burst", "2026-11", 'developers.klaviyo.com, "Create or Update Profile"'),
            DocumentedLimit.requests(
                700 / 60, "2026-11", 'developers.klaviyo.com, "Create or Update Profile", 700 a minute'
            ),
        ),
    ),
    plan=plan,
    test=test,
    steps=list_steps(
        _find,
        lambda answer, name: next((entry["id"] for entry in looked_up(answer, "data")), None),
        _create,
        lambda answer: decoded(answer.body)["data"]["id"],
    ),
    members=MembersReading(_members, _members_page, in_small_letters, "e-mail address"),
)
