"""PURE. Have a custom trait. Its value is the newest by event time, over all profiles of the person."""

from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.entries import LABELS, QUESTION, meant, typed
from audiences.measures import TRAITS, Answers, Edge, Measure
from audiences.operators import Question, read_question
from audiences.reading import Fields
from sources.events.sql import Sql, join, sql


@dataclass(frozen=True)
class TraitValue:
    """A trait's JSON text, or what lies at a path inside it."""

    json: Sql  # '' when there is none

    @property
    def present(self) -> Sql:
        return sql("(%s NOT IN ('', 'null'))", self.json)

    @property
    def text(self) -> Sql:
        return self._of_type("String", "JSONExtractString(%s)")

    @property
    def joined(self) -> Sql:
        of_texts = sql("arrayAll(e -> JSONType(e) IN ('String', 'Null'), JSONExtractArrayRaw(%s))", self.json)
        elements = sql("arrayFilter(e -> e != '', JSONExtract(%s, 'Array(String)'))", self.json)
        return sql("if(%s, arrayStringConcat(%s, ','), '')", of_texts, elements)

    @property
    def numbers(self) -> tuple[Sql, ...]:
        return (
            self._of_type("Int64", "JSONExtractInt(%s)"),
            self._of_type("Double", "JSONExtractFloat(%s)"),
            self._of_type("UInt64", "JSONExtractUInt(%s)"),
        )

    @property
    def truth(self) -> Sql:
        return self._of_type("Bool", "JSONExtractBool(%s)")

    def _of_type(self, type: str, value: str) -> Sql:
        return sql(f"if(JSONType(%s) = '{type}', {value}, NULL)", self.json, self.json)


@dataclass(frozen=True)
class HasTrait:
    """People whose trait answers the question."""

    kind: ClassVar[str] = "trait"
    label: ClassVar[str] = "Have a custom trait"
    fields: ClassVar[dict[str, str]] = {"name": "Trait", "op": "Operator", "value": "Value"}
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

    @property
    def key(self) -> str:
        return self.question.name.split(".")[0]

    def json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.question.name, **self.question.json()}

    def sentence(self) -> str:
        return f"have a profile where the trait {self.question.sentence()}"

    def measures(self, now: int) -> tuple[Measure, ...]:
        row = "(ts, source, origin_piece, origin_position, value)"
        return (Measure(TRAITS, self.key, sql(f"maxIf({row}, key = %s)", self.key)),)

    def test(self, answers: Answers) -> Sql:
        inside = self.question.name.split(".")[1:]
        whole = Sql(f"{answers.columns[0]}.5")
        path = join(", ", [whole, *(sql("%s", name) for name in inside)])
        return self.question.sql(TraitValue("JSONExtractRaw(" + path + ")" if inside else whole))

    def touches(self) -> frozenset[str]:
        return frozenset({f"trait:{self.key}"})

    def edges(self) -> tuple[Edge, ...]:
        return ()

    def audiences(self) -> frozenset[str]:
        return frozenset()

    def beginning(self, since: int) -> "HasTrait":
        return self  # whatever its age, the newest value is the value


condition = HasTrait
