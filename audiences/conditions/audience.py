"""PURE. Part of another audience, by its key."""

from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules.aggregates import Answers, Edge, Measure, kind_schema
from audiences.rules.operators import quoted
from audiences.rules.validation import NAME_SCHEMA, Fields
from sources.events.sql import Sql


@dataclass(frozen=True)
class PartOfAudience:
    """People who are in the audience `key` at the same moment."""

    kind: ClassVar[str] = "audience"
    label: ClassVar[str] = "Part of an audience"
    fields: ClassVar[dict[str, str]] = {"key": "Audience"}
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["kind", "key"],
        "properties": {"kind": kind_schema("audience"), "key": NAME_SCHEMA},
        "additionalProperties": False,
        "examples": [{"kind": "audience", "key": "buyers"}],
    }
    icon: ClassVar[str] = "audiences"
    labels: ClassVar[dict[str, str]] = {}
    blank: ClassVar[dict[str, Any]] = {"key": ""}
    entry_of: ClassVar[dict[str, str]] = {}
    rows: ClassVar[dict[str, dict[str, str]]] = {}

    key: str

    @classmethod
    def parse(cls, value: dict[str, Any], path: str) -> "PartOfAudience":
        fields = Fields(value, path)
        fields.take("kind")
        found = cls(fields.name("key"))
        fields.done()
        return found

    @staticmethod
    def sketch(value: dict[str, Any]) -> dict[str, Any]:
        return {"key": value["key"]}

    @staticmethod
    def draw(entries: dict[str, Any]) -> dict[str, Any]:
        return {"key": entries["key"]} if entries["key"] else {}

    def json(self) -> dict[str, Any]:
        return {"kind": self.kind, "key": self.key}

    def sentence(self) -> str:
        return f"are in the audience {quoted(self.key)}"

    def measures(self, now: int) -> tuple[Measure, ...]:
        return ()

    def test(self, answers: Answers) -> Sql:
        return answers.is_in(self.key)

    def touches(self) -> frozenset[str]:
        return frozenset({f"audience:{self.key}"})

    def edges(self) -> tuple[Edge, ...]:
        return ()

    def audiences(self) -> frozenset[str]:
        return frozenset({self.key})

    def beginning(self, since: int) -> "PartOfAudience":
        return self


condition = PartOfAudience
