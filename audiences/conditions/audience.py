"""PURE. Part of another audience, by its key: now, or at some time."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Answers
from audiences.rules.conditions import Condition
from audiences.rules.fields import AUDIENCE, PastField, TextField, declare
from audiences.rules.operators import quoted
from audiences.rules.references import PastMembership
from audiences.rules.windows import Duration
from sources.events.sql import Sql


@dataclass(frozen=True)
class PartOfAudience(Condition):
    """People who are in the audience `key` at the same moment; with `entered`, who entered it not longer ago, whether
    they left since or not; with `ever`, who are or were in it. Its first computation is an entry of everybody then."""

    kind = "audience"
    label = "Part of an audience"
    icon = "audiences"
    example: ClassVar = {"key": "buyers"}

    key: str = declare(TextField("key", "Audience", changes=AUDIENCE))
    past: Duration | str | None = declare(PastField(), default=None)

    def sentence(self) -> str:
        if isinstance(self.past, Duration):
            return f"entered the audience {quoted(self.key)} in the last {self.past}"
        return f"{'were ever' if self.past else 'are'} in the audience {quoted(self.key)}"

    def test(self, answers: Answers) -> Sql:
        # One place knows what a past membership is called: evaluate hands it over under that name.
        (past,) = self.memberships() or (None,)
        return answers.is_in(self.key) if past is None else answers.was_in(past)

    def memberships(self) -> frozenset[PastMembership]:
        within = self.past if isinstance(self.past, Duration) else None
        return frozenset() if self.past is None else frozenset({PastMembership(self.key, within)})


condition = PartOfAudience
