"""PURE. Viewed a page of a website: an event of every page call, told apart by the page's name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.conditions.event import Performed
from audiences.rules.fields import TextField, declare
from audiences.rules.operators import Question, quoted
from audiences.rules.properties import question_rows
from sources.events.properties import EVENT_NAMES
from sources.events.sql import Sql, join


def view_rows(view: str, name: str) -> list[Sql]:
    """What is true of an event that is a view of this name. view: a key of EVENT_NAMES."""
    return question_rows([Question(f"{view}_name", "equals", name)])


@dataclass(frozen=True)
class ViewedPage(Performed):
    """People who viewed the page of this name so many times, zero included, within the window or at any time.

    It is the event "Page Viewed" with the property "page_name", and whatever an event can be asked can be asked of it.
    """

    kind = "page"
    label = "Viewed a page"
    example: ClassVar = {"name": "Pricing", "atLeast": 2, "within": {"days": 7}}
    verbs: ClassVar = ("viewed", "did not view")

    name: str = declare(TextField("name", "Page"))

    @property
    def event(self) -> str:
        return EVENT_NAMES[self.kind]

    @property
    def called(self) -> str:
        return f"the {self.kind} {quoted(self.name)}"

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *view_rows(self.kind, self.name)])

    def change_keys(self) -> frozenset[str]:
        return super().change_keys() | {f"event:{self.event}"}

    @classmethod
    def event_of(cls, entries: Mapping[str, Any]) -> str:
        return EVENT_NAMES[cls.kind]


condition = ViewedPage
