"""PURE. The fields that a condition declares: each is read from JSON, written back, and typed into a form.

JSON -> value (`read`) -> JSON (`json`), for the grammar; JSON -> entries (`to_entries`) -> JSON (`from_entries`), for
the builder, whose form knows texts only. What was typed may be incomplete or wrong: `from_entries` leaves out what is
empty and passes on the rest as it is, so that `read` refuses it by name.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules.operators import OPERATORS, Question, question_schema, read_question
from audiences.rules.validation import COUNT_SCHEMA, NAME_SCHEMA, DefinitionError, JsonReader
from audiences.rules.value_input import BLANK_QUESTION, TYPES, question_entries, question_json, whole
from audiences.rules.windows import SCHEMA as WINDOW_SCHEMA
from audiences.rules.windows import UNITS, Window, parse_window

AUDIENCE, EVENT = "audience", "event"
USUAL_COUNT = "7"  # what the form offers as soon as a unit of time is chosen


class ConditionField(ABC):
    """One field of a condition. It may take several keys of the JSON and several entries of the form."""

    labels: dict[str, str]  # JSON key -> label
    inner_labels: ClassVar[dict[str, str]] = {}  # the same of keys inside of these
    blank: dict[str, Any]  # the entries of the form before anything is typed: texts, and lists of rows
    blank_rows: dict[str, dict[str, Any]]  # for each such list, the entries of a new row
    choices: dict[str, dict[str, str]]  # for each entry that is chosen, not typed: value -> label
    entry_of: dict[str, str]  # JSON key -> its entry, where that has another name
    audience_entries: frozenset[str] = frozenset()  # those chosen among the audiences of the space
    required: tuple[str, ...] = ()  # the JSON keys that cannot be left out

    def __init__(self, labels: dict[str, str], blank: dict[str, Any]) -> None:
        self.labels, self.blank = labels, blank
        self.blank_rows, self.choices, self.entry_of = {}, {}, {}

    @abstractmethod
    def read(self, reader: JsonReader) -> Any:
        """The value. Raises DefinitionError."""

    @abstractmethod
    def schemas(self) -> dict[str, Any]:
        """For each JSON key the JSON Schema of its value: whatever `read` takes, it takes."""

    @abstractmethod
    def json(self, value: Any) -> dict[str, Any]:
        """The keys that say this value."""

    @abstractmethod
    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        """The entries that show a valid condition's JSON."""

    @abstractmethod
    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        """The JSON keys that the entries mean, valid or not."""

    def change_keys(self, value: Any) -> frozenset[str]:
        """The keys of change sets that this value makes the condition depend on."""
        return frozenset()

    def audiences(self, value: Any) -> frozenset[str]:
        """Keys of the audiences that this value names."""
        return frozenset()


def declare(field: ConditionField, **options: Any) -> Any:
    """A dataclass field of a condition. options: those of `dataclasses.field`, such as a default."""
    return dataclasses.field(metadata={"field": field}, **options)


class TextField(ConditionField):
    """A name. changes: whose change sets concern it, of an event, a trait or an audience. options: all it may be."""

    def __init__(self, key: str, label: str, *, changes: str = "", options: dict[str, str] | None = None) -> None:
        super().__init__({key: label}, {key: next(iter(options or {}), "")})
        self.key, self.changes, self.options = key, changes, options
        self.required = (key,)
        if options:
            self.choices = {key: options}
        if changes == AUDIENCE:
            self.audience_entries = frozenset({key})

    def read(self, reader: JsonReader) -> str:
        name = reader.name(self.key)
        if self.options is not None and name not in self.options:
            raise reader.error(self.key, f"must be one of {', '.join(self.options)}")
        return name

    def schemas(self) -> dict[str, Any]:
        return {self.key: NAME_SCHEMA if self.options is None else {"type": "string", "enum": [*self.options]}}

    def json(self, value: str) -> dict[str, Any]:
        return {self.key: value}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {self.key: json[self.key]}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return {self.key: entries[self.key]} if entries[self.key] else {}

    def change_keys(self, value: str) -> frozenset[str]:
        return frozenset({f"{self.changes}:{value}"} if self.changes else ())

    def audiences(self, value: str) -> frozenset[str]:
        return frozenset({value} if self.changes == AUDIENCE else ())


class QuestionField(ConditionField):
    """A name with an operator and, where the operator takes one, a value."""

    def __init__(self, key: str, label: str) -> None:
        super().__init__({key: label, "op": "Operator", "value": "Value"}, {key: "", **BLANK_QUESTION})
        self.key, self.required = key, (key, "op")
        self.choices = {"op": {operator.name: operator.label for operator in OPERATORS.values()}, "type": TYPES}

    def read(self, reader: JsonReader) -> Question:
        return read_question(reader, self.key)

    def schemas(self) -> dict[str, Any]:
        return dict(question_schema(self.key)["properties"])

    def json(self, value: Question) -> dict[str, Any]:
        return {self.key: value.name, **value.json()}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {self.key: json[self.key], **question_entries(json)}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return ({self.key: entries[self.key]} if entries[self.key] else {}) | question_json(entries)


class QuestionsField(ConditionField):
    """A list of questions, which may be empty; then it is left out of the JSON."""

    def __init__(self, key: str, label: str, question: QuestionField, *, most: int) -> None:
        super().__init__({key: label}, {key: []})
        self.key, self.question, self.most = key, question, most
        self.inner_labels = question.labels  # type: ignore[misc]
        self.blank_rows = {key: question.blank}
        self.choices = question.choices

    def read(self, reader: JsonReader) -> tuple[Question, ...]:
        def read_row(value: Any, path: str) -> Question:
            row = JsonReader(value, path)
            question = self.question.read(row)
            row.done()
            return question

        return reader.rows(self.key, read_row, most=self.most)

    def schemas(self) -> dict[str, Any]:
        question = question_schema(self.question.key)
        return {self.key: {"type": "array", "items": question, "minItems": 1, "maxItems": self.most}}

    def json(self, value: tuple[Question, ...]) -> dict[str, Any]:
        return {self.key: [self.question.json(question) for question in value]} if value else {}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {self.key: [self.question.to_entries(row) for row in json.get(self.key, [])]}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        rows = [self.question.from_entries(row) for row in entries[self.key]]
        return {self.key: rows} if rows else {}


@dataclass(frozen=True)
class Times:
    """How often: at least, exactly or at most so many times."""

    bound: str = "atLeast"  # one of BOUNDS
    number: int = 1

    @property
    def sign(self) -> str:
        return {"atLeast": ">=", "exactly": "=", "atMost": "<="}[self.bound]

    def sentence(self) -> str:
        return f"{BOUNDS[self.bound]} {'once' if self.number == 1 else f'{self.number} times'}"


BOUNDS = {"atLeast": "at least", "exactly": "exactly", "atMost": "at most"}


class TimesField(ConditionField):
    """One of the keys atLeast, exactly and atMost; at least once when there is none."""

    def __init__(self) -> None:
        labels = {bound: words.capitalize() for bound, words in BOUNDS.items()}
        super().__init__(labels, {"frequency": "atLeast", "times": "1"})
        self.choices = {"frequency": BOUNDS}
        self.entry_of = dict.fromkeys(BOUNDS, "times")

    def read(self, reader: JsonReader) -> Times:
        bounds = [bound for bound in BOUNDS if bound in reader]
        if len(bounds) > 1:
            raise DefinitionError(reader.at(bounds[1]), f"cannot be used with {bounds[0]}")
        if not bounds:
            return Times()
        # "At least 0" would be everyone: nobody means that.
        return Times(bounds[0], reader.count(bounds[0], least=1 if bounds[0] == "atLeast" else 0))

    def schemas(self) -> dict[str, Any]:
        return dict.fromkeys(BOUNDS, COUNT_SCHEMA) | {"atLeast": COUNT_SCHEMA | {"minimum": 1}}

    def json(self, value: Times) -> dict[str, Any]:
        return {value.bound: value.number}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        bound = next(bound for bound in BOUNDS if bound in json)
        return {"frequency": bound, "times": str(json[bound])}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return {entries["frequency"]: whole(entries["times"])}


class WindowField(ConditionField):
    """The last so many days or another unit; None = at any time, and left out of the JSON."""

    inner_labels: ClassVar[dict[str, str]] = {unit: unit.title() for unit in UNITS}

    def __init__(self, key: str, label: str) -> None:
        super().__init__({key: label}, {"count": USUAL_COUNT, "unit": ""})
        self.key = key
        self.choices = {"unit": {"": "at any time"} | {unit: unit for unit in UNITS}}
        self.entry_of = {key: "count"}

    def read(self, reader: JsonReader) -> Window | None:
        return parse_window(reader.take(self.key), reader.at(self.key)) if self.key in reader else None

    def schemas(self) -> dict[str, Any]:
        return {self.key: WINDOW_SCHEMA}

    def json(self, value: Window | None) -> dict[str, Any]:
        return {self.key: value.json()} if value else {}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        unit, count = next(iter(json[self.key].items())) if self.key in json else ("", USUAL_COUNT)
        return {"count": str(count), "unit": unit}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return {self.key: {entries["unit"]: whole(entries["count"])}} if entries["unit"] else {}
