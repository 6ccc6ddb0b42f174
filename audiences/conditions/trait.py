"""PURE. Have a custom trait. Its value is the newest by event time, over all profiles of the person."""

from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules.aggregates import TRAITS, Answers, Edge, Measure, kind_schema
from audiences.rules.operators import Question, question_schema, read_question
from audiences.rules.validation import Fields
from audiences.rules.value_input import LABELS, QUESTION, meant, typed
from audiences.rules.values import Each, JsonValue, One, cuts, elements, first, inside, read_each
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class HasTrait:
    """People whose trait answers the question."""

    kind: ClassVar[str] = "trait"
    label: ClassVar[str] = "Have a custom trait"
    fields: ClassVar[dict[str, str]] = {"name": "Trait", "op": "Operator", "value": "Value"}
    schema: ClassVar[dict[str, Any]] = {
        **question_schema("name", kind=kind_schema("trait")),
        "examples": [{"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}],
    }
    icon: ClassVar[str] = "trait"
    labels: ClassVar[dict[str, str]] = LABELS
    blank: ClassVar[dict[str, Any]] = {"name": "", **QUESTION}
    entry_of: ClassVar[dict[str, str]] = {}
    rows: ClassVar[dict[str, dict[str, str]]] = {}

    question: Question

    @classmethod
    def parse(cls, value: dict[str, Any], path: str) -> "HasTrait":
        fields = Fields(value, path)
        fields.take("kind")
        found = cls(read_question(fields, "name"))
        fields.done()
        return found

    @staticmethod
    def sketch(value: dict[str, Any]) -> dict[str, Any]:
        return {"name": value["name"], **typed(value)}

    @staticmethod
    def draw(entries: dict[str, Any]) -> dict[str, Any]:
        return ({"name": entries["name"]} if entries["name"] else {}) | meant(entries)

    def json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.question.name, **self.question.json()}

    def sentence(self) -> str:
        return f"have a profile where the trait {self.question.sentence(of_elements=self._each is not None)}"

    def measures(self, now: int) -> tuple[Measure, ...]:
        row = "(ts, source, origin_piece, origin_position, value)"
        return tuple(Measure(TRAITS, key, sql(f"maxIf({row}, key = %s)", key)) for key in self._keys)

    def test(self, answers: Answers) -> Sql:
        columns = {key: Sql(f"{column}.5") for key, column in zip(self._keys, answers.columns, strict=True)}

        def at(name: str) -> Sql:
            return first([inside(columns[key], below) if below else columns[key] for key, below in cuts(name)])

        literal = JsonValue(at(self.question.name))
        if self._each is None:
            return self.question.sql(One(literal))
        head, below = self._each
        return self.question.sql(Each(elements(at(head), below), literal))

    def touches(self) -> frozenset[str]:
        return frozenset(f"trait:{key}" for key in self._keys)

    @property
    def _each(self) -> tuple[str, tuple[str, ...]] | None:
        return read_each(self.question.name)

    @property
    def _keys(self) -> tuple[str, ...]:
        """The traits that the name may lead to: dots may go into an object, or be part of the trait's own name."""
        names = [self.question.name, *([self._each[0]] if self._each else [])]
        return tuple(dict.fromkeys(key for name in names for key, _ in cuts(name)))

    def edges(self) -> tuple[Edge, ...]:
        return ()

    def audiences(self) -> frozenset[str]:
        return frozenset()

    def beginning(self, since: int) -> "HasTrait":
        return self  # whatever its age, the newest value is the value


condition = HasTrait
