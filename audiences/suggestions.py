"""What was seen in a space, offered while somebody describes an audience."""

from audiences.conditions.event import identifier
from audiences.operators import read_path
from audiences.reading import DefinitionError
from identity.queries import scope_of
from sources.events import seen
from sources.models import EventName
from sources.queries import listening
from spaces.models import Space


def events(space: Space) -> list[str]:
    """Names of events in the sources that the space listens to, the most frequent first."""
    sources = listening(space.pk).values("source")
    names = EventName.objects.filter(source__in=sources).exclude(event="")
    ordered = names.order_by("-archived", "event").values_list("event", flat=True)[: seen.MOST * 2]
    return list(dict.fromkeys(ordered))[: seen.MOST]


def properties(space: Space, *, event: str) -> list[str]:
    return seen.properties(scope_of(space), event) if event else []


def property_values(space: Space, *, event: str, name: str) -> list[str]:
    if not event or not _is_path(name):
        return []
    return seen.property_values(scope_of(space), event, identifier(name))


def traits(space: Space) -> list[str]:
    return seen.traits(scope_of(space))


def trait_values(space: Space, *, name: str) -> list[str]:
    if not _is_path(name):
        return []
    key, *inside = name.split(".")
    return seen.trait_values(scope_of(space), key, inside)


def _is_path(name: str) -> bool:
    try:
        return bool(name) and bool(read_path(name, ""))
    except DefinitionError:
        return False
