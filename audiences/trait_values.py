"""The values of computed traits: as asked of the events, and as they are kept, by profile. Each is JSON text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload

from pyroaring import BitMap

from audiences import queries
from audiences.models import Audience, ComputedTrait
from audiences.rules import grammar
from audiences.rules.compiler import LISTED, SETTINGS, Asked, QueryScope
from audiences.rules.compiler import values as values_sql
from audiences.rules.validation import DefinitionError
from identity.models import Profile
from identity.pages.presenters import Person, people
from sources.events import client
from sources.events.sql import Sql, bitmap, sql
from spaces import personal
from spaces.batches import visible_logs
from spaces.models import Space
from spaces.times import from_milliseconds


@dataclass(frozen=True)
class KeptValue:
    """What a person has of a computed trait, since when. value: JSON text."""

    trait: Audience
    value: str
    at: datetime

    @property
    def shown(self) -> Any:
        serving = self.trait.serving
        return readable(serving.definition if serving else None, self.value)

    @property
    def text(self) -> str:
        shown = self.shown
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    @property
    def sentence(self) -> str:
        try:
            return grammar.trait_sentence(grammar.parse_trait(self.trait.serving and self.trait.serving.definition))
        except DefinitionError:
            return ""


@dataclass(frozen=True)
class PersonValue:
    profile_id: str
    person: Person
    value: Any


def computed(scope: QueryScope, asked: Sequence[Asked]) -> list[dict[int, str]]:
    """Of each of these traits the values of everybody in scope who has one. Raises queries.Unanswerable."""
    with queries.answering():
        rows = client.rows(values_sql(scope, asked), **SETTINGS, max_execution_time=queries.LONGEST_S)
    return [{row[0]: row[place] for row in rows if row[place]} for place in range(1, len(asked) + 1)]


def kept(space: Space, trait: int, *, most: int | None = None) -> dict[int, str]:
    """Everybody's value, as of the newest tick. most: of so many people at most."""
    return kept_of(space, [trait], most=most)[trait]


def kept_of(
    space: Space, traits: Sequence[int], numbers: BitMap | None = None, *, most: int | None = None
) -> dict[int, dict[int, str]]:
    """The same of several traits. numbers: of these people only."""
    among = Sql("1")
    if numbers is not None:
        few = len(numbers) <= LISTED  # a list can use the order key
        among = sql("profile IN %s", [*numbers] or [0]) if few else sql("bitmapContains(%s, profile)", bitmap(numbers))
    query = sql(
        "SELECT trait, profile, argMax(value, piece) AS last FROM trait_log"
        " WHERE workspace = %s AND space = %s AND trait IN %s AND %s AND %s"
        " GROUP BY trait, profile HAVING last != ''%s",
        space.workspace_id,
        space.pk,
        list(traits),
        among,
        _seen(space),
        Sql("") if most is None else sql(" LIMIT %s", most),
    )
    values: dict[int, dict[int, str]] = {trait: {} for trait in traits}
    for trait, profile, value in client.rows(query):
        values[trait][profile] = value
    return values


def of_profile(space: Space, number: int) -> list[KeptValue]:
    """What this person has of the computed traits that are kept up to date, by name."""
    kept_up = ComputedTrait.objects.filter(space=space, deleted_at=None, serving__isnull=False)
    traits = {
        trait.pk: trait for trait in kept_up.select_related("serving").defer("serving__snapshot", "serving__computed")
    }
    if not traits:
        return []
    query = sql(
        "SELECT trait, argMax(value, piece) AS last, toUnixTimestamp64Milli(argMax(at, piece)) FROM trait_log"
        " WHERE workspace = %s AND space = %s AND trait IN %s AND profile = %s AND %s GROUP BY trait HAVING last != ''",
        space.workspace_id,
        space.pk,
        list(traits),
        number,
        _seen(space),
    )
    values = [KeptValue(traits[trait], value, from_milliseconds(ms)) for trait, value, ms in client.rows(query)]
    return sorted(values, key=lambda value: value.trait.name)


def history(space: Space, trait: int, number: int, most: int) -> list[tuple[str, datetime]]:
    """What one person had of it, and since when, the newest first; "" = nothing."""
    query = sql(
        "SELECT value, toUnixTimestamp64Milli(at) FROM trait_log"
        " WHERE workspace = %s AND space = %s AND trait = %s AND profile = %s AND %s ORDER BY piece DESC LIMIT %s",
        space.workspace_id,
        space.pk,
        trait,
        number,
        _seen(space),
        most,
    )
    return [(value, from_milliseconds(ms)) for value, ms in client.rows(query)]


class Values(Sequence[PersonValue]):
    """Everybody who has a value of a computed trait, by profile number, read a slice at a time."""

    def __init__(self, trait: Audience, definition: Any, values: Mapping[int, str] | None = None) -> None:
        """values: None = as they are kept."""
        self._trait, self._definition, self._values = trait, definition, values
        self._numbers = queries.members(trait) if values is None else BitMap(values)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> PersonValue: ...
    @overload
    def __getitem__(self, index: slice) -> list[PersonValue]: ...
    def __getitem__(self, index: int | slice) -> PersonValue | list[PersonValue]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        numbers = self._numbers[index]
        trait, values = self._trait, self._values
        if values is None:
            values = kept_of(trait.space, [trait.pk], numbers)[trait.pk]
        return with_people(
            self._trait.space, {number: values[number] for number in numbers if number in values}, self._definition
        )


def with_people(space: Space, values: Mapping[int, str], definition: Any) -> list[PersonValue]:
    profiles = Profile.objects.filter(space=space, number__in=list(values)).order_by("number")
    return [
        PersonValue(person.profile.public_id, person, readable(definition, values[person.profile.number]))
        for person in people(space, list(profiles))
    ]


def sample(space: Space, values: Mapping[int, str], size: int, definition: Any) -> list[PersonValue]:
    """Of at most so many of the people, spread evenly from the oldest profile to the newest."""
    numbers = sorted(values)
    count = min(size, len(numbers))
    chosen = [numbers[place * len(numbers) // count] for place in range(count)]
    return with_people(space, {number: values[number] for number in chosen}, definition)


def readable(definition: Any, value: str) -> Any:
    """What the JSON text says, masked where it is personal and whoever asks may not see that."""
    name = str(definition.get("property", "")) if isinstance(definition, dict) else ""
    return personal.payload({name: json.loads(value)})[name]


def _seen(space: Space) -> Sql:
    return client.seen(visible_logs(stage="evaluate", partitions=[space.pk])[space.pk])
