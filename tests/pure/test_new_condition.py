"""A new kind of condition is one class: its JSON, its form, its flaws and its place in statements follow from it."""

from dataclasses import dataclass

import pytest

from audiences.conditions import KINDS
from audiences.rules import draft_form, grammar
from audiences.rules.aggregates import Answers
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import TextField, declare
from audiences.rules.operators import quoted
from audiences.rules.validation import DefinitionError
from sources.events.sql import Sql, sql

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class OnWeekday(EventCondition):
    """People who did an event on this day of the week, at any time, in UTC."""

    kind = "weekday"
    label = "Performed an event on a weekday"
    icon = "event"

    day: str = declare(TextField("day", "Day", options={day: day for day in DAYS}))

    def sentence(self) -> str:
        return f"performed {quoted(self.name)} on a {self.day}"

    def rows(self) -> Sql:
        return sql("%s AND toDayOfWeek(ts) = %s", super().rows(), DAYS.index(self.day) + 1)

    def test(self, answers: Answers) -> Sql:
        return Sql(f"({answers.columns[0]} > 0)")


FRIDAY = {"kind": "weekday", "name": "Ordered", "day": "Friday"}


@pytest.fixture(autouse=True)
def weekday(monkeypatch):
    monkeypatch.setitem(KINDS, OnWeekday.kind, OnWeekday)


def test_it_is_read_and_written_and_has_a_sentence():
    node = grammar.parse({"not": FRIDAY})
    assert grammar.to_json(node) == {"not": FRIDAY}
    assert grammar.sentence(node) == 'People who are not among those who (performed "Ordered" on a Friday).'


@pytest.mark.parametrize(
    ("wrong", "path", "message"),
    [
        ({"kind": "weekday", "name": "Ordered"}, "day", "is missing"),
        (FRIDAY | {"day": "Fri"}, "day", f"must be one of {', '.join(DAYS)}"),
        (FRIDAY | {"within": {"days": 1}}, "within", "is not known here"),
    ],
)
def test_what_is_wrong_has_a_path(wrong, path, message):
    with pytest.raises(DefinitionError) as raised:
        grammar.parse({"all": [wrong]})
    assert (raised.value.path, raised.value.message) == (f"all[0].{path}", message)


def test_it_counts_the_events_that_it_narrows_down_and_none_before_the_audience_began():
    condition = OnWeekday.parse(FRIDAY, "")
    (count,) = condition.aggregates(1_000)
    assert (count.names, count.expression) == (
        ("Ordered",),
        sql("countIf(%s)", sql("event = %s AND toDayOfWeek(ts) = %s", "Ordered", 5)),
    )
    (later,) = condition.beginning(500).aggregates(1_000)
    assert later.since == 500
    assert condition.change_keys() == {"event:Ordered"}
    assert (condition.time_triggers(), condition.audiences()) == ((), frozenset())


def test_the_builder_offers_its_fields_and_says_which_is_missing():
    tree, focus = draft_form.edited(draft_form.of_definition(FRIDAY), [("add", "", "weekday")])
    assert focus == "rows.1"
    assert tree["all"][1] == {"kind": "weekday", "name": "", "day": "Monday"}
    assert draft_form.flaws(tree) == [draft_form.Flaw("rows.1", "name", "Event is missing.")]
    tree["all"][1]["name"] = "Seen"
    assert draft_form.definition(tree) == {"all": [FRIDAY, {"kind": "weekday", "name": "Seen", "day": "Monday"}]}
