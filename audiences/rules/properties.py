"""PURE. The properties of events, as ClickHouse keeps them in the timeline (`sources.events.properties`)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from audiences.rules.fields import QuestionField, QuestionsField
from audiences.rules.operators import Place, Question
from audiences.rules.values import ListElements, SingleValue, elements, read_list_name
from sources.events.sql import Sql, sql

WHERE = QuestionsField("where", "With properties", QuestionField("property", "Property"), most=50)


@dataclass(frozen=True)
class PropertyValue:
    """What an event has at a path (`sources.events.properties`). Only the columns of the types asked for are read."""

    path: Sql

    @property
    def present(self) -> Sql:
        return sql(
            "(isNotNull(properties.%s) OR notEmpty(JSONAllPaths(properties.^%s)) OR isNotNull(lists.%s))",
            self.path,
            self.path,
            self.path,
        )

    @property
    def text(self) -> Sql:
        return self._as("String")

    @property
    def list(self) -> Sql:
        return sql("ifNull(lists.%s.:`String`, '')", self.path)

    @property
    def numbers(self) -> tuple[Sql, ...]:
        return self._as("Int64"), self._as("Float64"), self._as("UInt64")

    @property
    def truth(self) -> Sql:
        return self._as("Bool")

    def _as(self, type: str) -> Sql:
        return sql(f"properties.%s.:`{type}`", self.path)


def place(name: str) -> Place:
    """Where the property of this name is."""
    literal = PropertyValue(identifier(name))
    list_name = read_list_name(name)
    if list_name is None:
        return SingleValue(literal)
    head, below = list_name
    return ListElements(elements(PropertyValue(identifier(head)).list, below), literal)


def identifier(name: str) -> Sql:
    """The path as one quoted identifier. All but plain letters are escaped: no name can end its quotes."""
    return Sql("`" + re.sub(rb"[^A-Za-z0-9_ .]", _hex, name.encode()).decode() + "`")


def _hex(byte: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % byte[0][0]


def question_rows(where: Sequence[Question]) -> list[Sql]:
    """What must be true of an event, one after the other."""
    return [question.sql(place(question.name), 0) for question in where]  # 0: none of them compares with now


def questions_sentence(where: Sequence[Question]) -> str:
    """To be read behind the event; empty when nothing is asked."""
    questions = [question.sentence(of_elements=read_list_name(question.name) is not None) for question in where]
    return f" (where {' and '.join(questions)})" if questions else ""
