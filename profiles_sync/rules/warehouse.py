"""PURE. What a kind of warehouse is to a sync: something that tables are written to, a batch at a time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from profiles_sync.rules.tables import SyncTable
from spaces.settings_schema import SettingsDeclaration

Row = Mapping[str, Any]  # by column: text, an integer, a moment, or None


@dataclass
class TableBatch:
    """What is written at once. number: later batches have higher ones, also when the same is written again.

    forgotten: by table, the segment ids of which no older row counts any more. rows: by table, of which there is one
    for each key; columns that a row lacks are empty.
    """

    number: int
    at: datetime
    rows: dict[SyncTable, Sequence[Row]] = field(default_factory=dict)
    forgotten: dict[SyncTable, Sequence[str]] = field(default_factory=dict)


class TableWriter(Protocol):
    """A connection. Raises audiences.rules.warehouse.WarehouseError, with the warehouse's own words."""

    def test(self) -> None:
        """It can be reached, and may be written to."""

    def prepare(self, table: SyncTable, columns: Sequence[str]) -> None:
        """The table is there, with its own columns and these."""

    def write(self, batch: TableBatch, columns: Mapping[SyncTable, Sequence[str]]) -> None:
        """All of it counts, or, when it raises or the process dies, none of it does.

        The same under a higher number leaves what it would have left at once. columns: of each table, besides its own.
        """


@dataclass(frozen=True)
class SyncKind:
    """One kind. people, events: how many go into a batch. keeps: what erasing somebody leaves behind, to be told."""

    label: str
    description: str
    settings: type[SettingsDeclaration]
    open: Callable[[Any], AbstractContextManager[TableWriter]]
    people: int = 2_000
    events: int = 10_000
    credentials: str = ""
    keeps: str = ""
