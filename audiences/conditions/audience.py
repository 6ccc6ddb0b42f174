"""PURE. Part of another audience, by its key."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Answers
from audiences.rules.conditions import Condition
from audiences.rules.fields import AUDIENCE, TextField, declare
from audiences.rules.operators import quoted
from sources.events.sql import Sql


@dataclass(frozen=True)
class PartOfAudience(Condition):
    """People who are in the audience `key` at the same moment."""

    kind = "audience"
    label = "Part of an audience"
    icon = "audiences"
    example: ClassVar = {"key": "buyers"}

    key: str = declare(TextField("key", "Audience", changes=AUDIENCE))

    def sentence(self) -> str:
        return f"are in the audience {quoted(self.key)}"

    def test(self, answers: Answers) -> Sql:
        return answers.is_in(self.key)


condition = PartOfAudience
