"""PURE. What every kind of condition has in common. A new kind is one file of `audiences/conditions`: a subclass."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from audiences.rules.aggregates import COUNT, EVENTS, Aggregate, Answers, EventTrigger, TimeTrigger, at
from audiences.rules.fields import EVENT, ConditionField, EventSources, TextField, declare
from audiences.rules.operators import quoted
from audiences.rules.references import PastMembership
from audiences.rules.validation import JsonReader
from audiences.rules.windows import Window
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class Condition(ABC):
    """One kind of leaf of a definition: a frozen dataclass, whose JSON and form follow from the fields it declares.

    A subclass states kind, label, icon and an example, declares its fields (`declare`), and writes `sentence`,
    `aggregates` and `test`. The other methods have defaults that are right as long as nothing but these fields decides
    the answer.
    """

    kind: ClassVar[str]
    label: ClassVar[str]
    icon: ClassVar[str]  # a symbol of static/icons.svg
    example: ClassVar[dict[str, Any]]  # the JSON of one, without its kind, for the description of the API

    # All of these are put together from the declared fields; `ConditionField` says what they are.
    declared: ClassVar[dict[str, ConditionField]] = {}  # attribute -> field
    fields: ClassVar[dict[str, str]]  # JSON key -> label
    inner_labels: ClassVar[dict[str, str]]
    blank: ClassVar[dict[str, Any]]
    blank_rows: ClassVar[dict[str, dict[str, Any]]]
    choices: ClassVar[dict[str, dict[str, str]]]
    entry_of: ClassVar[dict[str, str]]
    audience_entries: ClassVar[frozenset[str]]
    earlier_rows: ClassVar[dict[str, str]]

    def __init_subclass__(cls) -> None:
        # Called before the decorator makes a dataclass of it, while what `declare` returned still stands in the
        # class.
        own = {name: value for name, value in vars(cls).items() if isinstance(value, dataclasses.Field)}
        fields = {name: value.metadata["field"] for name, value in own.items() if "field" in value.metadata}
        # A new mapping: that of the base belongs to all of its subclasses.
        cls.declared = cls.declared | fields
        cls.fields, cls.inner_labels, cls.blank, cls.blank_rows, cls.choices, cls.entry_of = {}, {}, {}, {}, {}, {}
        cls.audience_entries, cls.earlier_rows = frozenset(), {}
        for field in cls.declared.values():
            cls.fields |= field.labels
            cls.inner_labels |= field.inner_labels
            cls.blank |= field.blank
            cls.blank_rows |= field.blank_rows
            cls.choices |= field.choices
            cls.entry_of |= field.entry_of
            cls.audience_entries |= field.audience_entries
            cls.earlier_rows |= field.earlier_rows

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON Schema of its JSON: whatever `parse` takes, it takes."""
        required, properties = ["kind"], {"kind": {"type": "string", "enum": [cls.kind]}}
        for field in cls.declared.values():
            required += field.required
            properties |= field.schemas()
        return {
            "type": "object",
            "required": required,
            "properties": properties,
            "additionalProperties": False,
            "examples": [{"kind": cls.kind, **cls.example}],
        }

    @classmethod
    def parse(cls, value: dict[str, Any], path: str) -> Self:
        """Raises DefinitionError with the path."""
        reader = JsonReader(value, path)
        reader.take("kind")
        condition = cls(**{name: field.read(reader) for name, field in cls.declared.items()})
        reader.done()
        return condition

    def json(self) -> dict[str, Any]:
        keys: dict[str, Any] = {"kind": self.kind}
        for name, field in self.declared.items():
            keys |= field.json(getattr(self, name))
        return keys

    @classmethod
    def to_entries(cls, json: dict[str, Any]) -> dict[str, Any]:
        """The form's entries that show this JSON, which is valid."""
        return {entry: value for field in cls.declared.values() for entry, value in field.to_entries(json).items()}

    @classmethod
    def from_entries(cls, entries: dict[str, Any]) -> dict[str, Any]:
        """The JSON that the entries mean. What is missing or wrong stays so, for `parse` to refuse."""
        keys: dict[str, Any] = {"kind": cls.kind}
        for field in cls.declared.values():
            keys |= field.from_entries(entries)
        return keys

    @abstractmethod
    def sentence(self) -> str:
        """What is true of a person, to be read after "People who"."""

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        """now: milliseconds since 1970."""
        return ()

    @abstractmethod
    def test(self, answers: Answers) -> Sql:
        """A boolean that is never NULL."""

    def reading(self, answers: Answers) -> Sql:
        """What it comes to, as text, where the events and values that it reads do not say that; '' = they do."""
        return Sql("''")

    @property
    def read_from(self) -> str:
        """The property whose values the reading shows, if it shows any."""
        return ""

    def change_keys(self) -> frozenset[str]:
        """The keys of change sets whose change may change the answer (identity.models.ChangeSet)."""
        return frozenset().union(*(field.change_keys(getattr(self, name)) for name, field in self.declared.items()))

    def audiences(self) -> frozenset[str]:
        """Keys of the audiences it asks about."""
        # Not from `change_keys`: a mistake there must not hide what an audience waits for.
        return frozenset().union(*(field.audiences(getattr(self, name)) for name, field in self.declared.items()))

    def memberships(self) -> frozenset[PastMembership]:
        """In which of these audiences it asks who was."""
        return frozenset()

    def traits(self) -> frozenset[str]:
        """Keys of the computed traits that it asks about."""
        return frozenset()

    def slugs(self) -> tuple[str, ...]:
        """Of the sources that it names."""
        return ()

    def bound(self, traits: "Mapping[str, Condition]", sources: Mapping[str, int]) -> "Condition":
        """The same, which knows how these traits are computed, and the keys of these sources."""
        return self

    @classmethod
    def event_of(cls, entries: Mapping[str, Any]) -> str:
        """The event whose properties the form's entries ask about; "" = there is none."""
        return str(entries.get("name", ""))

    @classmethod
    def of_older(cls, entries: dict[str, Any]) -> dict[str, Any]:
        """The entries of a draft that an older release has kept, as they are now."""
        return entries

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        """When the passing of time alone may change the answer. A superset is allowed."""
        return ()

    def beginning(self, since: int) -> "Condition":
        """The same, to which no event up to this moment counts, in milliseconds; itself, if it asks about none."""
        return self


@dataclass(frozen=True)
class EventCondition(Condition):
    """A condition on certain events of one name. A subclass narrows them down in `rows` and `window`."""

    name: str = declare(TextField("name", "Event", changes=EVENT))
    # Where they come from, of a subclass that declares it; None = from anywhere.
    sources: EventSources | None = dataclasses.field(default=None, kw_only=True)
    # No part of the definition: where the audience's own history begins, in milliseconds.
    since: int | None = dataclasses.field(default=None, kw_only=True)

    @property
    def event(self) -> str:
        """What the events are called in the timeline."""
        return self.name

    @property
    def called(self) -> str:
        """What the sentence calls them."""
        return quoted(self.name)

    @property
    def window(self) -> Window | None:
        """None = at any time."""
        return None

    def rows(self) -> Sql:
        """Which rows of the timeline are such events, whenever they were."""
        event = sql("event = %s", self.event)
        if self.sources is None:
            return event
        if self.sources.numbers is None:
            raise LookupError(f"the sources {self.sources.slugs} are not known")
        word = "NOT IN" if self.sources.excluded else "IN"
        # (0,): no source has this number, and an empty list is no SQL. So of sources that are all gone no event
        # counts.
        return sql(f"%s AND source {word} %s", event, self.sources.numbers or (0,))

    def event_sentence(self) -> str:
        """The event, and where it has to come from."""
        return f"{self.called}{self.sources.sentence() if self.sources else ''}"

    def opens(self, now: int) -> int | None:
        """Events up to this moment do not count; None = all do."""
        # The later of both: the window, and where the history of an audience that leaves it out begins.
        opens = [self.since, self.window.opens(now) if self.window else None]
        return max((moment for moment in opens if moment is not None), default=None)

    def counted(self, now: int) -> Sql:
        """Which rows of the timeline count now."""
        rows, opens = self.rows(), self.opens(now)
        closes = self.window.closes(now) if self.window else None
        if opens is not None:
            rows = sql("%s AND ts > %s", rows, at(opens))
        return rows if closes is None else sql("%s AND ts <= %s", rows, at(closes))

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        """How many such events there are."""
        rows = self.counted(now)
        return (Aggregate(COUNT, (self.event,), sql("countIf(%s)", rows), self.opens(now), rows),)

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        """An event comes into the window, and leaves it."""
        turns = self.window.turns() if self.window else ()
        return tuple(EventTrigger(EVENTS, self.event, self.rows(), turn) for turn in turns)

    def beginning(self, since: int) -> "Condition":
        return replace(self, since=since)

    def slugs(self) -> tuple[str, ...]:
        return self.sources.slugs if self.sources else ()

    def bound(self, traits: "Mapping[str, Condition]", sources: Mapping[str, int]) -> "Condition":
        if self.sources is None:
            return self
        # A slug that is gone is left out: "any but it" then means any, "only it" none.
        numbers = tuple(sources[slug] for slug in self.sources.slugs if slug in sources)
        return replace(self, sources=replace(self.sources, numbers=numbers))
