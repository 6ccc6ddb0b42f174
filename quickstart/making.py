"""What the steps make through the REST API. Each thing is found again by its name: a second run makes nothing twice."""

from collections.abc import Mapping, Sequence
from typing import Any

from quickstart.client import Api, ApiError, Json
from quickstart.feed import Origin

CATCHER = "Webhook catcher"
REPLAY_DAYS = 30


def a_space(api: Api, name: str, kind: str) -> Json:
    return _named(api, "spaces", name) or api.post("spaces", {"name": name, "kind": kind})["space"]


def an_invitation(api: Api, space: Json) -> Json:
    """The teammate is invited to the space, read back as pending."""
    email = f"teammate.{space['slug'][:40]}@example.com"
    if _pending(api, email) is None:
        grants = [{"spaceId": space["id"], "role": "user"}]
        api.post("invites", {"invites": [{"email": email, "role": "member", "grants": grants}]})
    # Read back: what the API said it did is what is to be shown.
    invite = _pending(api, email)
    if invite is None:
        raise ApiError(f"{email} was invited, and is not among the pending invitations")
    return invite


def _pending(api: Api, email: str) -> Json | None:
    return next((invite for invite in api.all("invites", "invites") if invite["email"] == email), None)


def a_source(api: Api, origin: Origin) -> Json:
    body = {"name": origin.name, "kind": origin.kind, "settings": dict(origin.settings)}
    return _named(api, "sources", origin.name) or api.post("sources", body)["source"]


def connections(api: Api, space: Json, sources: Sequence[Json]) -> bool:
    """The sources are connected, with a replay of the last month. Whether that was done now."""
    path = f"spaces/{space['id']}/connections"
    # Only what is missing: connecting a source twice is refused, and a second run is to change nothing.
    connected = {row["sourceId"] for row in api.all(path, "connections") if row["state"] != "disconnected"}
    missing = [source["id"] for source in sources if source["id"] not in connected]
    if missing:
        api.post(path, {"sourceIds": missing, "replay": True, "replayDays": REPLAY_DAYS})
    return bool(missing)


def an_audience(api: Api, space: Json, name: str, definition: Mapping[str, Any]) -> Json:
    path = f"spaces/{space['id']}/audiences"
    return _named(api, path, name, "audiences") or api.post(path, {"name": name, "definition": definition})["audience"]


def a_catcher(api: Api, space: Json) -> Json:
    path = f"spaces/{space['id']}/destinations"
    body = {"kind": "catcher", "name": CATCHER, "settings": {"style": "event"}}
    return _named(api, path, CATCHER, "destinations") or api.post(path, body)["destination"]


def a_subscription(api: Api, space: Json, audience: Json, destination: Json) -> Json:
    """The audience goes to the destination."""
    path = f"spaces/{space['id']}/audiences/{audience['id']}/destination-connections"
    for row in api.all(path, "subscriptions"):
        if row["destinationId"] == destination["id"]:
            return row
    return api.post(path, {"destinationId": destination["id"]})["subscription"]


def _named(api: Api, path: str, name: str, list_name: str = "") -> Json | None:
    return next((row for row in api.all(path, list_name or path) if row["name"] == name), None)
