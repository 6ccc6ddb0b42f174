"""PURE. The fields that a condition declares: each is read from JSON, written back, and typed into a form.

JSON -> value (`read`) -> JSON (`json`), for the grammar; JSON -> entries (`to_entries`) -> JSON (`from_entries`), for
the builder, whose form knows texts only. What was typed may be incomplete or wrong: `from_entries` leaves out what is
empty and passes on the rest as it is, so that `read` refuses it by name.
"""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules.operators import OPERATORS, Question, operators, question_schema, quoted, read_question
from audiences.rules.references import PARENT, TRAIT
from audiences.rules.validation import COUNT_SCHEMA, NAME_SCHEMA, DefinitionError, JsonReader, number
from audiences.rules.value_input import (
    BLANK_QUESTION,
    REFERENCES,
    TYPES,
    decimal,
    question_entries,
    question_json,
    referring,
    whole,
)
from audiences.rules.values import trait_keys
from audiences.rules.windows import (
    CURRENT_SESSION,
    LAST_SESSION,
    SESSION_SCHEMAS,
    UNITS,
    Duration,
    Window,
    read_duration,
    read_window,
)
from audiences.rules.windows import SCHEMA as DURATION_SCHEMA
from audiences.rules.windows import SCHEMAS as WINDOW_SCHEMAS

AUDIENCE, EVENT = "audience", "event"
USUAL_COUNT = "7"  # what the form offers as soon as a window is chosen
PLAIN_UNITS = {unit: unit for unit in UNITS}


class ConditionField(ABC):
    """One field of a condition. It may take several keys of the JSON and several entries of the form."""

    labels: dict[str, str]  # JSON key -> label
    inner_labels: ClassVar[dict[str, str]] = {}  # the same of keys inside of these
    blank: dict[str, Any]  # the entries of the form before anything is typed: texts, and lists of rows
    blank_rows: dict[str, dict[str, Any]]  # for each such list, the entries of a new row
    # For each entry that is chosen, not typed: value -> label. In rows it may be called by their list, as `where.op`.
    choices: dict[str, dict[str, str]]
    entry_of: dict[str, str]  # JSON key -> its entry, where that has another name
    audience_entries: frozenset[str] = frozenset()  # those chosen among the audiences of the space
    earlier_rows: ClassVar[dict[str, str]] = {}  # entries that choose among the rows before: -> what comes before them
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


class NumberField(ConditionField):
    """A whole number, `usual` when it is left out."""

    def __init__(self, key: str, label: str, *, usual: int, least: int) -> None:
        super().__init__({key: label}, {key: str(usual)})
        self.key, self.usual, self.least = key, usual, least

    def read(self, reader: JsonReader) -> int:
        return reader.count(self.key, least=self.least) if self.key in reader else self.usual

    def schemas(self) -> dict[str, Any]:
        return {self.key: COUNT_SCHEMA | {"minimum": self.least}}

    def json(self, value: int) -> dict[str, Any]:
        return {self.key: value}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {self.key: str(json.get(self.key, self.usual))}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return {self.key: whole(entries[self.key])} if entries[self.key].strip() else {}


class QuestionField(ConditionField):
    """A name with an operator and, where the operator takes one, a value. relative: it may compare a date with now.
    references: with what else it may compare."""

    def __init__(self, key: str, label: str, *, relative: bool = False, references: tuple[str, ...] = ()) -> None:
        super().__init__({key: label, "op": "Operator", "value": "Value"}, {key: "", **BLANK_QUESTION})
        self.key, self.relative, self.references, self.required = key, relative, references, (key, "op")
        offered = operators(relative=relative)
        labels_of_ops = {operator.name: operator.label for operator in offered.values()}
        labels_of_ops |= {
            referring(operator.name, of): f"{operator.label} {REFERENCES[of]}"
            for of in references
            for operator in offered.values()
            if of in operator.references
        }
        self.choices = {"op": labels_of_ops, "type": TYPES, "unit": PLAIN_UNITS}
        self.entry_of = {"value": "value"}  # also of what is inside of a duration

    def read(self, reader: JsonReader) -> Question:
        return read_question(reader, self.key, relative=self.relative, references=self.references)

    def schemas(self) -> dict[str, Any]:
        return dict(self.schema()["properties"])

    def schema(self) -> dict[str, Any]:
        """Of the name, the operator and the value as one object."""
        return question_schema(self.key, relative=self.relative, references=self.references)

    def json(self, value: Question) -> dict[str, Any]:
        return {self.key: value.name, **value.json()}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {self.key: json[self.key], **question_entries(json)}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return ({self.key: entries[self.key]} if entries[self.key] else {}) | question_json(entries)


REFERENCE_LABELS = {TRAIT: "Trait", PARENT: "Property of the earlier event"}


class QuestionsField(ConditionField):
    """A list of questions, which may be empty; then it is left out of the JSON."""

    def __init__(self, key: str, label: str, question: QuestionField, *, most: int) -> None:
        super().__init__({key: label}, {key: []})
        self.key, self.question, self.most = key, question, most
        self.inner_labels = question.labels | {of: REFERENCE_LABELS[of] for of in question.references}  # type: ignore[misc]
        self.blank_rows = {key: question.blank}
        self.choices = {name if name != "op" else f"{key}.op": labels for name, labels in question.choices.items()}
        self.entry_of = question.entry_of

    def read(self, reader: JsonReader) -> tuple[Question, ...]:
        def read_row(value: Any, path: str) -> Question:
            row = JsonReader(value, path)
            question = self.question.read(row)
            row.done()
            return question

        return reader.rows(self.key, read_row, most=self.most)

    def schemas(self) -> dict[str, Any]:
        return {self.key: {"type": "array", "items": self.question.schema(), "minItems": 1, "maxItems": self.most}}

    def json(self, value: tuple[Question, ...]) -> dict[str, Any]:
        return {self.key: [self.question.json(question) for question in value]} if value else {}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {self.key: [self.question.to_entries(row) for row in json.get(self.key, [])]}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        rows = [self.question.from_entries(row) for row in entries[self.key]]
        return {self.key: rows} if rows else {}

    def change_keys(self, value: tuple[Question, ...]) -> frozenset[str]:
        return frozenset(f"{TRAIT}:{key}" for name in traits_compared(value) for key in trait_keys(name))


def traits_compared(questions: Iterable[Question]) -> Iterator[str]:
    """The names of the traits that these questions compare with."""
    return (question.value.name for question in questions if question.compares_with(TRAIT))


@dataclass(frozen=True)
class Frequency:
    """How often, or how much of a property: at least, exactly or at most so many times, or so much."""

    bound: str = "atLeast"  # one of BOUNDS
    number: int | float = 1
    measure: str = ""  # one of MEASURES
    of: str = ""  # the property that is measured

    @property
    def sign(self) -> str:
        return {"atLeast": ">=", "exactly": "=", "atMost": "<="}[self.bound]

    def sentence(self) -> str:
        """To be read behind an event."""
        if self.measure:
            of = f"{MEASURES[self.measure]} {quoted(self.of)}"
            return f"with {of} of {BOUNDS[self.bound]} {quoted(self.number)}"
        return f"{BOUNDS[self.bound]} {'once' if self.number == 1 else f'{self.number} times'}"


BOUNDS = {"atLeast": "at least", "exactly": "exactly", "atMost": "at most"}
MEASURES = {
    "sum": "a sum of",
    "average": "an average of",
    "minimum": "a smallest",
    "maximum": "a largest",
    "distinct": "a number of different values of",
}
TIMES = "times"
CHOSEN_MEASURES = {  # to be read behind a number
    TIMES: "times",
    "sum": "in sum, of",
    "average": "on average, of",
    "minimum": "as smallest",
    "maximum": "as largest",
    "distinct": "different values of",
}


class FrequencyField(ConditionField):
    """One of the keys atLeast, exactly and atMost; at least once when there is none. With one of the measures, whose
    value is the name of a property, it is about that."""

    def __init__(self, *, measures: bool = True) -> None:
        labels = {bound: words.capitalize() for bound, words in BOUNDS.items()}
        self.measures = MEASURES if measures else {}
        labels |= dict.fromkeys(self.measures, "Property")
        blank = {"frequency": "atLeast", "times": "1"} | ({"measure": TIMES, "measured": ""} if measures else {})
        super().__init__(labels, blank)
        self.choices = {"frequency": BOUNDS} | ({"measure": CHOSEN_MEASURES} if measures else {})
        self.entry_of = dict.fromkeys(BOUNDS, "times") | dict.fromkeys(self.measures, "measured")

    def read(self, reader: JsonReader) -> Frequency:
        measures = [measure for measure in self.measures if measure in reader]
        bounds = [bound for bound in BOUNDS if bound in reader]
        for named in (measures, bounds):
            if len(named) > 1:
                raise DefinitionError(reader.at(named[1]), f"cannot be used with {named[0]}")
        if measures:
            of = reader.name(measures[0])
            if not bounds:
                # A measure alone says nothing: a sum of what, compared with what?
                raise DefinitionError(reader.path, f"must have one of {', '.join(BOUNDS)} with {measures[0]}")
            bound = bounds[0]
            if measures[0] == "distinct":
                return Frequency(bound, _count(reader, bound), "distinct", of)
            return Frequency(bound, number(reader.take(bound), reader.at(bound)), measures[0], of)
        if not bounds:
            return Frequency()
        return Frequency(bounds[0], _count(reader, bounds[0]))

    def schemas(self) -> dict[str, Any]:
        bound: dict[str, Any] = {"type": "number"} if self.measures else COUNT_SCHEMA
        return dict.fromkeys(BOUNDS, bound) | dict.fromkeys(self.measures, NAME_SCHEMA)

    def json(self, value: Frequency) -> dict[str, Any]:
        return ({value.measure: value.of} if value.measure else {}) | {value.bound: value.number}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        bound = next(bound for bound in BOUNDS if bound in json)
        entries = {"frequency": bound, "times": str(json[bound])}
        if self.measures:
            measure = next((measure for measure in self.measures if measure in json), TIMES)
            entries |= {"measure": measure, "measured": json.get(measure, "")}
        return entries

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        measure, written = entries.get("measure", TIMES), entries["times"]
        if measure == TIMES or measure == "distinct":
            # Of a count only whole numbers; what is none is passed on, for the grammar to name.
            bound: dict[str, Any] = {entries["frequency"]: whole(written)}
        else:
            bound = {entries["frequency"]: decimal(written)} if written.strip() else {}
        measured = {measure: entries["measured"]} if measure != TIMES and entries["measured"] else {}
        return (measured or ({} if measure == TIMES else {measure: ""})) | bound


def _count(reader: JsonReader, bound: str) -> int:
    # "At least 0" would be everyone: nobody means that.
    return reader.count(bound, least=1 if bound == "atLeast" else 0)


class WindowField(ConditionField):
    """When events count, as one or two of the keys of SCHEMAS; None = at any time, and left out of the JSON. sessions:
    whether it may be in one."""

    inner_labels: ClassVar[dict[str, str]] = {unit: unit.title() for unit in UNITS}

    def __init__(self, *, sessions: bool = False) -> None:
        self.sessions = sessions
        labels = {
            "within": "Within the last",
            "between": "Between",
            "before": "Before",
            "after": "After",
            "on": "On",
        }
        blank = {
            "when": "",
            "count": USUAL_COUNT,
            "unit": "days",
            "newest": "1",
            "newestUnit": "days",
            "date": "",
            "end": "",
        }
        super().__init__(labels, blank)
        if sessions:
            self.labels |= {LAST_SESSION: "Last session", CURRENT_SESSION: "Current session"}
        self.choices = {"when": WHEN | (IN_SESSION if sessions else {}), "unit": PLAIN_UNITS, "newestUnit": PLAIN_UNITS}
        self.entry_of = {
            "within": "count",
            "between": "count",
            "between.0": "newest",
            "after": "date",
            "before": "end",
            "on": "date",
            **dict.fromkeys(IN_SESSION if sessions else (), "count"),
        }

    def read(self, reader: JsonReader) -> Window | None:
        return read_window(reader, sessions=self.sessions)

    def schemas(self) -> dict[str, Any]:
        return WINDOW_SCHEMAS | (SESSION_SCHEMAS if self.sessions else {})

    def json(self, value: Window | None) -> dict[str, Any]:
        return value.json() if value else {}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        if "within" in json or "between" in json:
            *newest, oldest = json.get("between") or [json["within"]]
            ((unit, count),) = oldest.items()
            entries = {**self.blank, "when": "between" if newest else "within", "count": str(count), "unit": unit}
            for duration in newest:
                ((unit, count),) = duration.items()
                entries |= {"newest": str(count), "newestUnit": unit}
            return entries
        for session in json.keys() & SESSION_SCHEMAS.keys():
            ((unit, count),) = json[session].items()
            return {**self.blank, "when": session, "count": str(count), "unit": unit}
        if "on" in json:
            return {**self.blank, "when": "on", "date": json["on"]}
        when = (
            "dates"
            if "after" in json and "before" in json
            else next((key for key in ("after", "before") if key in json), "")
        )
        return {**self.blank, "when": when, "date": json.get("after", ""), "end": json.get("before", "")}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        when, unit = entries["when"], entries["unit"]
        if when == "within" or when in SESSION_SCHEMAS:
            return {when: {unit: whole(entries["count"])}}
        if when == "between":
            return {"between": [{entries["newestUnit"]: whole(entries["newest"])}, {unit: whole(entries["count"])}]}
        if when == "on":
            return {"on": entries["date"]}
        after = {"after": entries["date"]} if when in ("after", "dates") else {}
        # Each may stand alone, or both together.
        return after | ({"before": entries["end"]} if when in ("before", "dates") else {})


class PastField(ConditionField):
    """`entered`: how long ago at most; `ever`: true. Left out, membership now is meant. A Duration, None, or EVER."""

    def __init__(self) -> None:
        labels = {"entered": "Entered it in the last", "ever": "Ever"}
        super().__init__(labels, {"past": "", "count": USUAL_COUNT, "unit": "days"})
        self.choices = {"past": PASTS, "unit": PLAIN_UNITS}
        self.entry_of = {"entered": "count", "ever": "past"}

    def read(self, reader: JsonReader) -> Duration | str | None:
        if "ever" in reader:
            if "entered" in reader:
                raise reader.error("ever", 'must not stand beside "entered"')
            if reader.take("ever") is not True:
                raise reader.error("ever", "must be true")
            return EVER
        return read_duration(reader.take("entered"), reader.at("entered")) if "entered" in reader else None

    def schemas(self) -> dict[str, Any]:
        return {"entered": DURATION_SCHEMA, "ever": {"type": "boolean", "enum": [True]}}

    def json(self, value: Duration | str | None) -> dict[str, Any]:
        if isinstance(value, Duration):
            return {"entered": value.json()}
        return {"ever": True} if value == EVER else {}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        if "entered" in json:
            ((unit, count),) = json["entered"].items()
            return {"past": "entered", "count": str(count), "unit": unit}
        return {**self.blank, "past": EVER if "ever" in json else ""}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        if entries["past"] == "entered":
            return {"entered": {entries["unit"]: whole(entries["count"])}}
        return {"ever": True} if entries["past"] == EVER else {}


EVER = "ever"
PASTS = {"": "are in", "entered": "entered", EVER: "were ever in"}


@dataclass(frozen=True)
class EventSources:
    """Which sources an event must come from, by their slugs: one of them, or any but them.

    numbers: their keys, which no definition says; None = they were not looked up yet.
    """

    excluded: bool
    slugs: tuple[str, ...]
    numbers: tuple[int, ...] | None = None

    def sentence(self) -> str:
        names = " or ".join(quoted(slug) for slug in self.slugs)
        return f" from any source but {names}" if self.excluded else f" from the source {names}"


class SourcesField(ConditionField):
    """`{"only": […]}` or `{"except": […]}`; left out, every source counts. A form has the slugs in one text."""

    def __init__(self) -> None:
        super().__init__({"sources": "Sources"}, {"origin": "", "origins": ""})
        self.choices, self.entry_of = {"origin": ORIGINS}, {"sources": "origins"}

    def read(self, reader: JsonReader) -> EventSources | None:
        if "sources" not in reader:
            return None
        inner = JsonReader(reader.take("sources"), reader.at("sources"))
        (key, *more) = [key for key in ("only", "except") if key in inner] or [""]
        if not key or more:
            raise reader.error("sources", 'must have either "only" or "except"')
        slugs = inner.take(key)
        if not isinstance(slugs, list) or not 1 <= len(slugs) <= MOST_SOURCES:
            raise inner.error(key, f"must be a list of 1 to {MOST_SOURCES} sources")
        for place, slug in enumerate(slugs):
            if not isinstance(slug, str) or not SLUG.fullmatch(slug):
                raise DefinitionError(f"{inner.at(key)}[{place}]", "must be the slug of a source, such as website")
        inner.done()
        return EventSources(key == "except", tuple(dict.fromkeys(slugs)))

    def schemas(self) -> dict[str, Any]:
        slugs: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": f"^{SLUG.pattern}$"}}
        slugs |= {"minItems": 1, "maxItems": MOST_SOURCES}
        one_of = [
            {"type": "object", "required": [key], "properties": {key: slugs}, "additionalProperties": False}
            for key in ("only", "except")
        ]
        return {"sources": {"oneOf": one_of, "examples": [{"only": ["website"]}]}}

    def json(self, value: EventSources | None) -> dict[str, Any]:
        return {} if value is None else {"sources": {"except" if value.excluded else "only": [*value.slugs]}}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        for key, slugs in json.get("sources", {}).items():
            return {"origin": key, "origins": ", ".join(slugs)}
        return dict(self.blank)

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        # Parted by commas or blanks, as people write lists.
        slugs = [slug for slug in entries["origins"].replace(",", " ").split() if slug]
        return {"sources": {entries["origin"]: slugs}} if entries["origin"] else {}


MOST_SOURCES = 50
SLUG = re.compile(r"[-a-zA-Z0-9_]{1,60}")
ORIGINS = {"": "from any source", "only": "only from", "except": "not from"}
WHEN = {
    "": "at any time",
    "within": "in the last",
    "between": "between",
    "after": "after a date",
    "before": "before a date",
    "dates": "between two dates",
    "on": "on a day",
}
IN_SESSION = {
    LAST_SESSION: "in the last session, ended by more than",
    CURRENT_SESSION: "in the current session, ended by more than",
}


@dataclass(frozen=True)
class NextStep:
    """What happens, or does not, after another event of a sequence. follows: its number, 0 = the condition's event."""

    name: str
    frequency: Frequency
    where: tuple[Question, ...] = ()
    within: Duration | None = None  # of that event; None = at any time after it
    follows: int = 0


MOST_UNLIKE = 3  # differences from the event that a step follows: each doubles what is counted


class StepsField(ConditionField):
    """A list of steps, which may be empty; then it is left out of the JSON."""

    earlier_rows: ClassVar[dict[str, str]] = {"follows": "the event"}

    def __init__(self, key: str, label: str, questions: QuestionsField, *, most: int) -> None:
        super().__init__({key: label}, {key: []})
        self.key, self.questions, self.most = key, questions, most
        self.name, self.frequency = TextField("name", "Event"), FrequencyField(measures=False)
        blank = {**self.name.blank, "did": "did", **self.frequency.blank, **questions.blank, **STEP_BLANK}
        self.blank_rows = {key: blank, **questions.blank_rows}
        # Questions are one list deeper here, and may have other choices than those of the condition itself.
        of_questions = {f"{key}.{name}" if "." in name else name: labels for name, labels in questions.choices.items()}
        self.choices = {"did": DID, **self.frequency.choices, **of_questions, "soon": SOON, "unit": PLAIN_UNITS}
        self.inner_labels = self.name.labels | self.frequency.labels | questions.labels | questions.inner_labels  # type: ignore[misc]
        self.inner_labels |= {"within": "Within", "follows": "Step"}  # type: ignore[misc]
        self.entry_of = {"within": "count", **questions.entry_of}

    def read(self, reader: JsonReader) -> tuple[NextStep, ...]:
        # Rows are read in their order, each with the number that later ones follow it by.
        place = iter(range(self.most))

        def read_row(value: Any, path: str) -> NextStep:
            row, number = JsonReader(value, path), next(place)
            step = NextStep(
                self.name.read(row),
                self.frequency.read(row),
                self.questions.read(row),
                read_duration(row.take("within"), row.at("within")) if "within" in row else None,
                row.count("follows", least=0) if "follows" in row else 0,
            )
            if step.follows > number:
                raise row.error("follows", "must be the number of a step before this one, or 0 for the event itself")
            of_parent = [question for question in step.where if question.compares_with(PARENT)]
            if sum(OPERATORS[question.operator].negative for question in of_parent) > MOST_UNLIKE:
                raise row.error(self.questions.key, f"must not ask for more than {MOST_UNLIKE} differences")
            row.done()
            return step

        return reader.rows(self.key, read_row, most=self.most)

    def schemas(self) -> dict[str, Any]:
        follows = {"type": "integer", "minimum": 0, "maximum": self.most}
        properties = {**self.name.schemas(), **self.frequency.schemas(), **self.questions.schemas()}
        step = {
            "type": "object",
            "required": [*self.name.required],
            "properties": {**properties, "within": DURATION_SCHEMA, "follows": follows},
            "additionalProperties": False,
        }
        return {self.key: {"type": "array", "items": step, "minItems": 1, "maxItems": self.most}}

    def json(self, value: tuple[NextStep, ...]) -> dict[str, Any]:
        steps = [
            {
                "name": step.name,
                **self.frequency.json(step.frequency),
                **self.questions.json(step.where),
                **({"within": step.within.json()} if step.within else {}),
                **({"follows": step.follows} if step.follows else {}),
            }
            for step in value
        ]
        return {self.key: steps} if steps else {}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for step in json.get(self.key, []):
            entries = {**self.blank_rows[self.key], "name": step["name"], **self.questions.to_entries(step)}
            # The form says "did not" for it: nobody thinks of it as a number.
            if step.get("exactly") == 0:
                entries["did"] = "didNot"
            else:
                entries |= self.frequency.to_entries(step)
            if "within" in step:
                ((unit, count),) = step["within"].items()
                entries |= {"soon": "within", "count": str(count), "unit": unit}
            rows.append(entries | {"follows": str(step.get("follows", 0))})
        return {self.key: rows}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        steps = [self._step_from_entries(row) for row in entries[self.key]]
        return {self.key: steps} if steps else {}

    def _step_from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        frequency = {"exactly": 0} if entries["did"] == "didNot" else self.frequency.from_entries(entries)
        within = {"within": {entries["unit"]: whole(entries["count"])}} if entries["soon"] else {}
        follows = {"follows": whole(entries["follows"])} if entries["follows"] not in ("", "0") else {}
        return {
            **self.name.from_entries(entries),
            **frequency,
            **self.questions.from_entries(entries),
            **within,
            **follows,
        }

    def change_keys(self, value: tuple[NextStep, ...]) -> frozenset[str]:
        events = frozenset(f"{EVENT}:{step.name}" for step in value)
        return events.union(*(self.questions.change_keys(step.where) for step in value))


DID = {"did": "did", "didNot": "did not"}
SOON = {"": "at any time after", "within": "within"}
STEP_BLANK = {"soon": "", "count": USUAL_COUNT, "unit": "days", "follows": "0"}
