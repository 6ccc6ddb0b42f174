"""What was seen in a space, offered while somebody describes an audience."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.db.models import Sum

from audiences import trait_overview
from audiences import trait_values as kept_values
from audiences.models import ComputedTrait, SqlTrait
from audiences.rules.properties import identifier, place
from audiences.rules.validation import EACH
from audiences.rules.values import ListElements, texts_in, trait_places
from identity.history import scope_of
from sources.consumption import listening
from sources.events import seen
from sources.events.sql import sql
from sources.models import EventName, Source
from spaces import personal
from spaces.models import Space

MOST_PEOPLE = 10_000  # whose values of a computed trait are looked at


def events(space: Space, *, like: str = "") -> dict[str, int]:
    """{name: how many} of events in the sources that the space listens to, the most frequent first."""
    # Of all its workspace's sources only these: what nobody here listens to no audience can mean.
    listening_to = listening(space.pk).values("source")
    names = EventName.objects.filter(source__in=listening_to).exclude(event="")
    names = names.filter(event__icontains=like) if like else names
    counted = names.values("event").annotate(count=Sum("archived")).order_by("-count", "event")
    return dict(counted.values_list("event", "count")[: seen.MOST])


def properties(space: Space, *, event: str, like: str = "") -> dict[str, int]:
    return seen.properties(scope_of(space), event, like=like) if event else {}


def property_values(space: Space, *, event: str, name: str, like: str = "") -> dict[str, int]:
    if not event or not name:
        return {}
    where, plain = place(name), sql("[toString(properties.%s)]", identifier(name))
    texts = texts_in(where.elements) if isinstance(where, ListElements) else plain
    return _shown(name, seen.property_values(scope_of(space), event, texts, like=like))


def traits(space: Space, *, like: str = "") -> dict[str, int]:
    return seen.traits(scope_of(space), like=like)


def trait_values(space: Space, *, name: str, like: str = "") -> dict[str, int]:
    """Of the first trait with values that the name may lead to."""
    scope = scope_of(space)
    for key, there in trait_places(name) if name else ():
        if values := seen.trait_values(scope, key, texts_in(there), like=like):
            return _shown(name, values, names=personal.OF_PEOPLE)
    return {}


def computed_traits(space: Space) -> list[str]:
    """Their keys."""
    traits = ComputedTrait.objects.filter(space=space, deleted_at=None).order_by("key")
    return list(traits.values_list("key", flat=True)[: seen.MOST])


def sources(space: Space) -> list[str]:
    """Slugs of those that the space listens to."""
    listening_to = listening(space.pk).values("source")
    return list(Source.objects.filter(pk__in=listening_to).order_by("slug").values_list("slug", flat=True))


def sql_traits(space: Space) -> list[str]:
    """Names of the columns that queries of this space's warehouses gave."""
    columns = SqlTrait.objects.filter(space=space).values_list("columns", flat=True)
    return sorted({name for names in columns for name in names})


def computed_values(space: Space, *, name: str) -> dict[str, int]:
    """Some that people have, the most frequent first, and how many have each; of a list its elements."""
    found = ComputedTrait.objects.filter(
        space=space, deleted_at=None, key=name.removesuffix(EACH), serving__isnull=False
    )
    trait = found.select_related("serving").first()
    if trait is None or trait.serving is None:
        return {}
    kept = kept_values.kept(space, trait.pk, most=MOST_PEOPLE).values()
    read = [trait_overview.readable(trait.serving.definition, value) for value in kept]
    # The elements, since a question about a list is asked of each of them.
    flat = [each for value in read for each in (value if isinstance(value, list) else [value])]
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in flat]
    return dict(Counter(texts).most_common(seen.MOST))


EVENT, PROPERTY, PROPERTY_VALUE, TRAIT, TRAIT_VALUE = "event", "property", "property-value", "trait", "trait-value"
SOURCE, SQL_TRAIT, COMPUTED, COMPUTED_VALUE = "source", "sql-trait", "computed", "computed-value"
OFFERED = (EVENT, PROPERTY, PROPERTY_VALUE, TRAIT, TRAIT_VALUE, SOURCE, SQL_TRAIT, COMPUTED, COMPUTED_VALUE)


def offered(space: Space, of: str, *, event: str = "", name: str = "", like: str = "") -> dict[str, int | None]:
    """What can be chosen, and how often it was seen; None = that is not counted. Nothing for an unknown `of`.

    event: whose properties. name: of the property or trait whose values. like: only what has this text in it.
    """
    # It is searched for in millions of rows: nobody types more than this.
    like = like.strip()[: seen.LONGEST]
    counted: dict[str, Callable[[], dict[str, int]]] = {
        EVENT: lambda: events(space, like=like),
        PROPERTY: lambda: properties(space, event=event, like=like),
        PROPERTY_VALUE: lambda: property_values(space, event=event, name=name, like=like),
        TRAIT: lambda: traits(space, like=like),
        TRAIT_VALUE: lambda: trait_values(space, name=name, like=like),
        COMPUTED_VALUE: lambda: _alike(computed_values(space, name=name), like),
    }
    listed: dict[str, Callable[[Space], list[str]]] = {
        SOURCE: sources,
        SQL_TRAIT: sql_traits,
        COMPUTED: computed_traits,
    }
    if of in counted:
        return dict(counted[of]())
    return _alike(dict.fromkeys(listed[of](space)), like) if of in listed else {}


def _alike(values: dict[str, Any], like: str) -> dict[str, Any]:
    return {value: count for value, count in values.items() if like.casefold() in value.casefold()}


def _shown(name: str, values: dict[str, int], names: frozenset[str] = personal.NAMES) -> dict[str, int]:
    """Those that whoever asks may see."""
    return {value: count for value, count in values.items() if personal.value(name, value, names=names) == value}
