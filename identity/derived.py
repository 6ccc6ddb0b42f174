"""Traits of a person beside what was sent of them: worked out in apps above this one, and read by code of theirs.

`personas_site.urls` hands it to the views: identity knows neither audiences nor computed traits.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pyroaring import BitMap

from access.authentication import SpaceReader
from identity.models import Profile
from spaces.models import Space

CUSTOM, SQL, COMPUTED, AUDIENCE = "custom", "sql_trait", "computed_trait", "audience"
KINDS = (CUSTOM, SQL, COMPUTED, AUDIENCE)


@dataclass(frozen=True)
class DerivedTrait:
    """kind: COMPUTED, or AUDIENCE, whose value is true. id: of the computed trait or the audience. at: since when the
    value is what it is; None = that is not recorded. value: ready to be shown to whoever asks."""

    key: str
    kind: str
    id: str
    value: Any
    at: datetime | None


@dataclass(frozen=True)
class DerivedTraits:
    """queries: by the keys of the sources that SQL traits send to, the ids of these."""

    traits: Sequence[DerivedTrait] = ()
    queries: Mapping[int, str] = field(default_factory=dict)


# Of a person of a space: those of some of KINDS.
DerivedReader = Callable[[Space, Profile, Collection[str]], DerivedTraits]


def none_derived(space: Space, profile: Profile, kinds: Collection[str]) -> DerivedTraits:
    return DerivedTraits()


@dataclass(frozen=True)
class TraitQuery:
    """A trait with this value, whoever's. name: a dot in it goes into an object, `[]` to the elements of a list. text:
    the value as text, in letters of either size; "" = any value. begins: it need only begin so."""

    name: str
    text: str = ""
    begins: bool = False


class SearchFailed(Exception):
    """The event store is away, or the search took more than a statement may. The message is for whoever searches."""


# Canonical numbers of those of a collection who have it: of traits of all kinds but audiences. Nobody where whoever
# asks may not see such a value. Raises SearchFailed.
TraitSearch = Callable[[Space, str, TraitQuery], BitMap]


def nobody(space: Space, collection: str, wanted: TraitQuery) -> BitMap:
    return BitMap()


class DerivedReads(Protocol):
    """The same for reads that are many: of several people, with values as JSON text that nobody masks."""

    def traits(
        self,
        space: SpaceReader,
        numbers: Collection[int],
        kinds: Collection[str],
        keys: Collection[str],
        *,
        dated: bool,
    ) -> Mapping[int, Sequence[DerivedTrait]]:
        """By profile number. keys: of these traits only, when there are any. dated: each with its moment, which costs
        a look into the log."""

    def memberships(
        self, space: SpaceReader, collection: str, number: int, keys: Collection[str]
    ) -> Mapping[str, bool | None]:
        """Whether somebody is in these audiences; None where there is no such audience of this collection."""

    def sql_sources(self, space: SpaceReader) -> Collection[int]:
        """The keys of the sources that SQL traits send to."""
