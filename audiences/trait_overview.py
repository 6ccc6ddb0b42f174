"""What pages and the API show of the values of computed traits: of one person, of some, of all who have one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload

from audiences import overview, queries, trait_values
from audiences.models import Audience, ComputedTrait
from audiences.rules import grammar
from audiences.rules.validation import DefinitionError
from identity.models import Profile
from identity.pages.presenters import Person, people
from sources.events import client
from sources.events.sql import sql
from spaces import personal
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
        return readable(definition_of(self.trait), self.value)

    @property
    def text(self) -> str:
        shown = self.shown
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    @property
    def sentence(self) -> str:
        try:
            return grammar.trait_sentence(grammar.parse_trait(definition_of(self.trait)), of=self.trait.of)
        except DefinitionError:
            return ""


@dataclass(frozen=True)
class PersonValue:
    profile_id: str
    person: Person
    value: Any


def of_profile(space: Space, number: int) -> list[KeptValue]:
    """What this person has of the computed traits that are kept up to date, by name."""
    kept_up = ComputedTrait.objects.filter(space=space, deleted_at=None, serving__isnull=False)
    traits = {
        trait.pk: trait for trait in kept_up.select_related("serving").defer("serving__snapshot", "serving__computed")
    }
    if not traits:
        return []
    query = sql(
        # The log has a row for each new value; '' = none any more, which is a row as well.
        "SELECT trait, argMax(value, piece) AS last, toUnixTimestamp64Milli(argMax(at, piece)) FROM trait_log"
        " WHERE workspace = %s AND space = %s AND trait IN %s AND profile = %s AND %s GROUP BY trait HAVING last != ''",
        space.workspace_id,
        space.pk,
        list(traits),
        number,
        trait_values.seen_ticks(space),
    )
    values = [KeptValue(traits[trait], value, from_milliseconds(ms)) for trait, value, ms in client.rows(query)]
    return sorted(values, key=lambda value: value.trait.name)


class Values(Sequence[PersonValue]):
    """Everybody who has a value of a computed trait, by profile number, read a slice at a time."""

    def __init__(self, trait: Audience) -> None:
        self._trait, self._numbers = trait, queries.members(trait)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> PersonValue: ...
    @overload
    def __getitem__(self, index: slice) -> list[PersonValue]: ...
    def __getitem__(self, index: int | slice) -> PersonValue | list[PersonValue]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        space, trait = self._trait.space, self._trait.pk
        values = trait_values.kept_of(space, [trait], self._numbers[index])[trait]
        return with_people(space, values, definition_of(self._trait))


def definition_of(trait: Audience) -> Any:
    """That by which the kept values were computed; None before the first."""
    return trait.serving.definition if trait.serving else None


def with_people(space: Space, values: Mapping[int, str], definition: Any) -> list[PersonValue]:
    profiles = Profile.objects.filter(space=space, number__in=list(values)).order_by("number")
    return [
        PersonValue(person.profile.public_id, person, readable(definition, values[person.profile.number]))
        for person in people(space, list(profiles))
    ]


def sample(space: Space, values: Mapping[int, str], size: int, definition: Any) -> list[PersonValue]:
    """Of at most so many of the people, spread evenly from the oldest profile to the newest."""
    # By number, which is by age: the first and the last are as likely to be seen as any.
    chosen = overview.spread(sorted(values), size)
    return with_people(space, {number: values[number] for number in chosen}, definition)


def readable(definition: Any, value: str) -> Any:
    """What the JSON text says, masked where it is personal and whoever asks may not see that."""
    # What a value was taken from says whether it is personal: a last `email` is one, a count of orders is none.
    name = str(definition.get("property", "")) if isinstance(definition, dict) else ""
    return personal.payload({name: json.loads(value)})[name]
