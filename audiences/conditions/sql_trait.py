"""PURE. Have a SQL trait: a trait that a query of the customer's warehouse says (audiences.sql_runs)."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.conditions.trait import HasTrait
from audiences.rules.fields import QuestionField, declare
from audiences.rules.operators import Question


@dataclass(frozen=True)
class HasSqlTrait(HasTrait):
    """People whose SQL trait answers the question. It is kept, and asked, as a custom trait of the column's name."""

    kind = "sql_trait"
    label = "Have a SQL trait"
    example: ClassVar = {"name": "lifetime_value", "op": "atLeast", "value": 1000}

    question: Question = declare(QuestionField("name", "SQL trait", relative=True))

    @property
    def noun(self) -> str:
        return "SQL trait"


condition = HasSqlTrait
