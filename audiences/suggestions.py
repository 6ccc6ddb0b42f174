"""What was seen in a space, offered while somebody describes an audience."""

import json
from collections import Counter

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


def events(space: Space) -> dict[str, int]:
    """{name: how many} of events in the sources that the space listens to, the most frequent first."""
    listening_to = listening(space.pk).values("source")
    names = EventName.objects.filter(source__in=listening_to).exclude(event="").values("event")
    counted = names.annotate(count=Sum("archived")).order_by("-count", "event")
    return dict(counted.values_list("event", "count")[: seen.MOST])


def properties(space: Space, *, event: str) -> list[str]:
    return seen.properties(scope_of(space), event) if event else []


def property_values(space: Space, *, event: str, name: str) -> list[str]:
    if not event or not name:
        return []
    where, plain = place(name), sql("[toString(properties.%s)]", identifier(name))
    texts = texts_in(where.elements) if isinstance(where, ListElements) else plain
    return _shown(name, seen.property_values(scope_of(space), event, texts))


def traits(space: Space) -> list[str]:
    return seen.traits(scope_of(space))


def trait_values(space: Space, *, name: str) -> list[str]:
    """Of the first trait with values that the name may lead to."""
    scope = scope_of(space)
    for key, there in trait_places(name) if name else ():
        if values := seen.trait_values(scope, key, texts_in(there)):
            return _shown(name, values, names=personal.OF_PEOPLE)
    return []


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


def computed_values(space: Space, *, name: str) -> list[str]:
    """Some that people have, the most frequent first; of a list its elements."""
    found = ComputedTrait.objects.filter(
        space=space, deleted_at=None, key=name.removesuffix(EACH), serving__isnull=False
    )
    trait = found.select_related("serving").first()
    if trait is None or trait.serving is None:
        return []
    kept = kept_values.kept(space, trait.pk, most=MOST_PEOPLE).values()
    read = [trait_overview.readable(trait.serving.definition, value) for value in kept]
    flat = [each for value in read for each in (value if isinstance(value, list) else [value])]
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in flat]
    return [text for text, _ in Counter(texts).most_common(seen.MOST)]


def _shown(name: str, values: list[str], names: frozenset[str] = personal.NAMES) -> list[str]:
    """Those that whoever asks may see."""
    return [value for value in values if personal.value(name, value, names=names) == value]
