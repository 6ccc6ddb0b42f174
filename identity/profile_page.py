"""What the pages about people read: lists, one profile, its history. Ready to be shown."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet

from identity.models import Identifier, Link, Merge, Profile
from sources.events import timeline
from sources.models import Source
from spaces.models import Space
from spaces.pieces import visible_logs

Pair = tuple[str, str]  # (type, value) of an identifier
KINDS = {"users": Profile.Kind.USER, "accounts": Profile.Kind.ACCOUNT}
ANONYMOUS = "anonymous_id"
EVENTS_SHOWN = 50
MANY = 200  # identifiers of one profile that a page shows


@dataclass(frozen=True)
class Person:
    """A profile in a list. `hint` tells those apart that have no name."""

    profile: Profile
    name: str
    email: str
    initial: str
    hint: str = ""
    identifiers: Sequence[Identifier] = ()


@dataclass(frozen=True)
class Trait:
    """A value and where it is from; `shown` is text."""

    key: str
    shown: str
    at: datetime | None
    source: str


@dataclass(frozen=True)
class Event:
    """One line of a profile's history. `text` is the message as archived, indented."""

    name: str
    type: str
    at: datetime
    source: str
    text: str
    identifiers: str


@dataclass(frozen=True)
class History:
    """Events by day, newest first."""

    days: Sequence[tuple[datetime, Sequence[Event]]] = field(default_factory=list)
    more: bool = False


def living(space: Space, kind: Profile.Kind) -> "QuerySet[Profile]":
    """Profiles that were not merged into another one."""
    return Profile.objects.filter(space=space, merged_into=None, kind=kind)


def search(space: Space, text: str) -> "QuerySet[Profile]":
    """Profiles, merged ones aside, that have this as their id, as an identifier, or as `type:value`."""
    text = text.strip()
    if text.startswith("use_"):
        found = canonical(space, text)
        return Profile.objects.filter(pk=found.pk) if found else Profile.objects.none()
    type, _, value = text.partition(":")
    wanted = Q(value__in={text, text.lower()})
    if value:
        wanted |= Q(type=type.strip(), value__in={value.strip(), value.strip().lower()})
    holders = Identifier.objects.filter(wanted, space=space).values("profile")
    return Profile.objects.filter(space=space, merged_into=None, number__in=holders)


def canonical(space: Space, public_id: str) -> Profile | None:
    """The profile of this id, or the one it was merged into."""
    found = Profile.objects.filter(space=space, public_id=public_id).first()
    if found is None or found.merged_into is None:
        return found
    return Profile.objects.filter(space=space, number=found.merged_into).first()


def people(space: Space, profiles: Sequence[Profile]) -> list[Person]:
    """As a list shows them. One query, however many there are."""
    held: dict[int, list[Identifier]] = defaultdict(list)
    numbers = [profile.number for profile in profiles]
    for row in Identifier.objects.filter(space=space, profile__in=numbers).order_by("id"):
        held[row.profile].append(row)
    return [person(profile, held[profile.number]) for profile in profiles]


def name_of(profile: Profile, identifiers: Sequence[Pair]) -> str:
    """What to call them; "" for somebody of whom nothing but a device is known."""
    return _name(profile.traits) or _email(profile, identifiers) or _first(identifiers, "user_id", "group_id")


def person(profile: Profile, identifiers: Sequence[Identifier]) -> Person:
    pairs = [(row.type, row.value) for row in identifiers]
    email, name = _email(profile, pairs), name_of(profile, pairs)
    if name:
        return Person(profile, name, email, name[0].upper(), identifiers=identifiers)
    hint = identifiers[0].value if identifiers else ""
    return Person(profile, "Anonymous visitor", email, "?", hint, identifiers)


def identifiers(space: Space, profile: Profile) -> list[Identifier]:
    held = Identifier.objects.filter(space=space, profile=profile.number).select_related("source")
    return list(held.order_by("type", "first_seen_at", "id")[:MANY])


def traits(profile: Profile) -> list[Trait]:
    """By name, each with the event time and the source of the event it came with."""
    names = _source_names(seen[1] for seen in profile.traits_seen.values())
    return [_trait(key, value, profile.traits_seen.get(key), names) for key, value in sorted(profile.traits.items())]


def merges(space: Space, profile: Profile) -> list[Merge]:
    """What was merged into it, newest first."""
    into = Merge.objects.filter(space=space, winner=profile.number).select_related("source")
    return list(into.order_by("-at", "-id")[:MANY])


def relations(space: Space, profile: Profile) -> list[Person]:
    """The accounts of a user, or the users of an account."""
    numbers = [profile.number, *_losers(space, profile)]
    links = Link.objects.filter(Q(user__in=numbers) | Q(account__in=numbers), space=space)
    ends = {number for pair in links.values_list("user", "account")[:MANY] for number in pair} - set(numbers)
    found = Profile.objects.filter(space=space, number__in=ends)
    alive = {row.merged_into or row.number for row in found} - set(numbers)
    return people(space, list(Profile.objects.filter(space=space, number__in=alive).order_by("number")))


def history(space: Space, profile: Profile) -> History:
    """The newest events of the profile and of all that were merged into it."""
    log = visible_logs(stage="resolve", owners=[space.pk])[space.pk]
    scope = timeline.Scope(space.workspace_id, space.pk, log)
    numbers = [profile.number, *_losers(space, profile)]
    found = timeline.events_of(scope, numbers, limit=EVENTS_SHOWN + 1)
    names = _source_names(row.source for row in found)
    days: dict[datetime, list[Event]] = {}
    for row in found[:EVENTS_SHOWN]:
        at = datetime.fromtimestamp(row.ts / 1000, UTC)
        days.setdefault(at.replace(hour=0, minute=0, second=0, microsecond=0), []).append(_event(row, at, names))
    return History(list(days.items()), len(found) > EVENTS_SHOWN)


def _losers(space: Space, profile: Profile) -> list[int]:
    losers = Profile.objects.filter(space=space, merged_into=profile.number)
    return list(losers.values_list("number", flat=True))


def _name(traits: dict[str, Any]) -> str:
    """The name as sent, or made of its parts."""
    whole = traits.get("name")
    if isinstance(whole, str) and whole.strip():
        return whole.strip()
    parts = [
        traits.get(one) or traits.get(other) for one, other in (("firstName", "first_name"), ("lastName", "last_name"))
    ]
    return " ".join(part.strip() for part in parts if isinstance(part, str)).strip()


def _email(profile: Profile, identifiers: Sequence[Pair]) -> str:
    return str(profile.traits.get("email") or _first(identifiers, "email"))


def _first(identifiers: Sequence[Pair], *types: str) -> str:
    values = dict(reversed(identifiers))
    return next((values[type] for type in types if type in values), "")


def _source_names(ids: Iterable[int]) -> dict[int, str]:
    return dict(Source.objects.filter(pk__in=set(ids)).values_list("pk", "name"))


def _trait(key: str, value: Any, seen: Any, names: dict[int, str]) -> Trait:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not seen:
        return Trait(key, shown, None, "")
    return Trait(key, shown, datetime.fromtimestamp(seen[0] / 1000, UTC), names.get(seen[1], "a deleted source"))


def _event(row: timeline.ProfileEvent, at: datetime, names: dict[int, str]) -> Event:
    held = ", ".join(f"{type}: {value}" for type, value in row.identifiers)
    text = json.dumps(json.loads(row.message), indent=2, ensure_ascii=False)
    return Event(
        row.event or row.type.capitalize(), row.type, at, names.get(row.source, "a deleted source"), text, held
    )
