"""PURE. The properties of events, as ClickHouse keeps them in the timeline (`sources.events.properties`)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from audiences.rules.fields import QuestionField, QuestionsField
from audiences.rules.operators import Place, Question
from audiences.rules.values import ListElements, SingleValue, elements, read_list_name
from sources.events.sql import Sql, sql


def filters(*references: str) -> QuestionsField:
    """The questions about the properties of an event. references: what they may compare with beside values."""
    question = QuestionField("property", "Property", references=references)
    return QuestionsField("where", "With properties", question, most=50)


WHERE = filters()


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
    escaped = re.sub(rb"[^A-Za-z0-9_ .]", lambda byte: b"\\x%02x" % byte[0][0], name.encode())
    return Sql(f"`{escaped.decode()}`")


def question_rows(where: Sequence[Question]) -> list[Sql]:
    """What must be true of an event, one after the other. Where a question compares with a reference: that there is
    something to compare."""
    return [
        place(question.name).some(lambda operand: operand.present)
        if question.reference
        else question.sql(place(question.name), 0)  # 0: none of them compares with now
        for question in where
    ]


def questions_sentence(where: Sequence[Question], parent: str = "") -> str:
    """To be read behind the event; empty when nothing is asked. parent: what the event that it follows is called."""
    questions = [
        question.sentence(of_elements=read_list_name(question.name) is not None, parent=parent) for question in where
    ]
    return f" (where {' and '.join(questions)})" if questions else ""
