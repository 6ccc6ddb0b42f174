"""PURE. Have a custom trait. Its value is the newest by event time, over all profiles of the person."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules import person_traits
from audiences.rules.aggregates import TRAITS, Aggregate, AnniversaryTrigger, Answers, DateTrigger, TimeTrigger
from audiences.rules.conditions import Condition
from audiences.rules.fields import QuestionField, declare
from audiences.rules.operators import OPERATORS, Question
from audiences.rules.values import read_list_name, texts_in, trait_keys, trait_places
from sources.events.sql import Sql


@dataclass(frozen=True)
class HasTrait(Condition):
    """People whose trait answers the question."""

    kind = "trait"
    label = "Have a custom trait"
    icon = "trait"
    example: ClassVar = {"name": "plan", "op": "equals", "value": "pro"}

    question: Question = declare(QuestionField("name", "Trait", relative=True))

    def sentence(self) -> str:
        of_elements = read_list_name(self.question.name) is not None
        return f"have a profile where the {self.noun} {self.question.sentence(of_elements=of_elements)}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        return person_traits.newest(self.question.name)

    def test(self, answers: Answers) -> Sql:
        return self.question.sql(person_traits.place(self.question.name, answers.columns), answers.now)

    def change_keys(self) -> frozenset[str]:
        return frozenset(f"trait:{key}" for key in trait_keys(self.question.name))

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        """The clock comes to the date, or to so long before or after it, that any of its values ever held."""
        operator, value = OPERATORS[self.question.operator], self.question.value
        if not operator.relative:
            return ()
        # Of every value that was ever set, not of the newest: which one is the newest the trigger cannot know.
        texts = [(key, texts_in(json)) for key, json in trait_places(self.question.name)]
        if operator.yearly:
            return tuple(AnniversaryTrigger(TRAITS, key, there, value) for key, there in texts)
        turns = operator.turns(value) if operator.turns else ()
        return tuple(DateTrigger(TRAITS, key, there, turn) for key, there in texts for turn in turns)

    @property
    def noun(self) -> str:
        """What its sentence calls it."""
        return "trait"


condition = HasTrait
