"""How people, their events and their merges look in the answers of the API, and what it takes."""

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pyroaring import BitMap
from rest_framework import serializers

from access.api import moment
from identity import queries
from identity.models import Identifier, Merge, Profile
from identity.queries import COLLECTIONS, Placed
from identity.rules.display_name import display_name
from identity.rules.extract import ACCOUNT_TYPE
from sources.events.timeline import ProfileEvent
from spaces.models import Space

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLLECTION_OF = {int(kind): name for name, kind in COLLECTIONS.items()}


class RulesBody(serializers.Serializer[Any]):
    identityRules = serializers.JSONField(allow_null=True)


def render_placed(placed: Placed) -> dict[str, Any]:
    return {
        "sourceId": placed.source_id,
        "messageId": placed.row.message_id,
        "profileId": placed.profile_id,
        "timestamp": from_ms(placed.row.ts),
        "piece": placed.row.piece,
        "position": placed.row.position,
    }


def render_listed(profile: Profile, include: Collection[str] = ()) -> dict[str, Any]:
    row = {
        "id": profile.public_id,
        "collection": COLLECTION_OF[profile.kind],
        "firstSeenAt": moment(profile.first_seen_at),
    }
    row |= {"traits": profile.traits} if "traits" in include else {}
    return row | ({"identifiers": profile.held} if "identifiers" in include else {})  # type: ignore[attr-defined]


def render_profile(space: Space, profile: Profile, numbers: BitMap) -> dict[str, Any]:
    """numbers: all of this person."""
    held = list(queries.held_by(profile)[: queries.MANY])
    sources = queries.source_ids(row.source_id for row in held if row.source_id)
    seen = queries.seen_between(queries.scope_of(space), [*numbers])
    related = queries.with_identifiers(queries.relations_of(space, numbers))
    others = "users" if profile.kind == Profile.Kind.ACCOUNT else "accounts"
    return {
        "id": profile.public_id,
        "collection": COLLECTION_OF[profile.kind],
        "name": display_name(profile.traits, [(row.type, row.value) for row in held]) or None,
        "traits": profile.traits,
        "identifiers": [render_identifier(row, sources) for row in held],
        "mergedIds": sorted(set(queries.own_ids(space, numbers).values()) - {profile.public_id}),
        others: [render_related(each) for each in related.order_by("number")[: queries.MANY]],
        "relatedTotal": related.count(),
        "firstSeenAt": moment(seen[0] if seen else profile.first_seen_at),
        "lastSeenAt": moment(seen[1]) if seen else None,
    }


def render_related(profile: Profile) -> dict[str, Any]:
    held: list[dict[str, str]] = profile.held  # type: ignore[attr-defined]
    name = display_name(profile.traits, [(each["type"], each["value"]) for each in held])
    return {"id": profile.public_id, "name": name or None, "identifiers": held}


def render_identifier(row: Identifier, sources: Mapping[int, str]) -> dict[str, Any]:
    return {
        "type": row.type,
        "value": row.value,
        "firstSeenAt": moment(row.first_seen_at),
        "sourceId": sources.get(row.source_id or 0),
        "messageId": row.message_id,
    }


def render_external_id(row: Identifier, profile: Profile, sources: Mapping[int, str]) -> dict[str, Any]:
    """With the fields of Segment's Profile API."""
    return _external_id(row.type, row.value, COLLECTION_OF[profile.kind]) | {
        "createdAt": moment(row.first_seen_at),
        "sourceId": sources.get(row.source_id or 0),
        "firstMessageId": row.message_id,
    }


def render_event(row: ProfileEvent, source_id: str | None, collection: str) -> dict[str, Any]:
    return {
        "externalIds": [_external_id(type, value, collection) for type, value in row.identifiers],
        "type": row.type,
        "event": row.event,
        "messageId": row.message_id,
        "sourceId": source_id,
        "timestamp": from_ms(row.ts),
        "message": json.loads(row.message),
    }


def render_merge(merge: Merge, ids: Mapping[int, str], sources: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": ids[merge.loser],
        "into": ids[merge.winner],
        "at": moment(merge.at),
        "sourceId": sources.get(merge.source_id or 0),
        "messageId": merge.message_id,
        "reason": merge.reason,
        "piece": merge.piece,
    }


def _external_id(type: str, value: str, collection: str) -> dict[str, Any]:
    collection = "accounts" if type == ACCOUNT_TYPE else collection
    return {"collection": collection, "type": type, "id": value, "encoding": "none"}


def verbose_traits(profile: Profile) -> Callable[[str], dict[str, Any]]:
    """A trait's value with where it is from."""
    seen = profile.traits_seen
    sources = queries.source_ids(stamp[1] for stamp in seen.values())

    def render(key: str) -> dict[str, Any]:
        at, source, *_ = seen.get(key) or (None, 0)
        return {
            "value": profile.traits[key],
            "sourceId": sources.get(source),
            "updatedAt": None if at is None else from_ms(at),
        }

    return render


def from_ms(at: int) -> str | None:
    return moment(EPOCH + timedelta(milliseconds=at))
