"""What a definition asks about that was never seen in its space. A slip of the pen finds nobody; negated, everybody."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from audiences import suggestions
from audiences.conditions.page import view_rows
from audiences.rules import grammar
from audiences.rules.conditions import Condition
from audiences.rules.fields import EVENT, FrequencyField, QuestionField, QuestionsField, StepsField, TextField
from audiences.rules.grammar import Node
from audiences.rules.operators import Question
from audiences.rules.properties import PropertyValue, identifier
from audiences.rules.references import PARENT
from audiences.rules.values import read_list_name, trait_keys
from identity.history import scope_of
from sources.events import seen
from sources.events.properties import EVENT_NAMES
from sources.events.sql import join, sql
from spaces.models import Space

TRAIT, PROPERTY = "trait", "property"
ALIKE = 0.75  # of 1, as difflib has it: one or two letters of a word


@dataclass(frozen=True)
class NeverSeen:
    """path: in the definition. what: an event, a page or screen, a property of `event`, or a trait. like: one that was
    seen, or ""."""

    path: str
    what: str
    name: str
    event: str = ""
    like: str = ""

    @property
    def sentence(self) -> str:
        of = f" of “{self.event}”" if self.what == PROPERTY else ""
        like = f" Did you mean “{self.like}”?" if self.like else ""
        article = "An" if self.what == EVENT else "A"
        return f"{article} {self.what} “{self.name}”{of} was never seen in this space.{like}"


def never_seen(space: Space, node: Node) -> list[NeverSeen]:
    """In the order of the definition. What takes too long to look for counts as seen."""
    names = [name for path, condition in grammar.located(node) for name in _names(path, condition)]
    scope = scope_of(space)
    # All names in one statement each: a definition may have hundreds.
    events = seen.known_events(scope, {name.event or name.name for name in names if name.what != TRAIT})
    keys = {name: trait_keys(name.name) for name in names if name.what == TRAIT}
    traits = seen.known_traits(scope, {key for several in keys.values() for key in several})

    def is_seen(name: NeverSeen) -> bool:
        if name.what == TRAIT:
            return not traits.isdisjoint(keys[name])
        if name.what == EVENT:
            return name.name in events
        if name.what in EVENT_NAMES:
            return seen.has_property(scope, name.event, join(" AND ", view_rows(name.what, name.name)))
        # Of an event that was never seen, that alone is worth saying.
        if name.event not in events:
            return True
        list_name = read_list_name(name.name)
        paths = [name.name, *([list_name[0]] if list_name else [])]  # itself, or the list whose elements are meant
        present = sql("(%s)", join(" OR ", [PropertyValue(identifier(path)).present for path in paths]))
        return seen.has_property(scope, name.event, present)

    return [_with_one_alike(space, name) for name in names if not is_seen(name)]


def _names(path: str, condition: Condition) -> Iterator[NeverSeen]:
    """All that the condition asks about, as if it had not been seen."""
    at = f"{path}." if path else ""
    for attribute, field in condition.declared.items():
        value = getattr(condition, attribute)
        if isinstance(field, TextField) and field.changes == EVENT:
            yield NeverSeen(f"{at}{field.key}", EVENT, value)
        elif attribute == "name" and condition.kind in EVENT_NAMES:
            yield NeverSeen(f"{at}name", condition.kind, value, EVENT_NAMES[condition.kind])
        elif isinstance(field, QuestionField) and not condition.traits():  # what is no computed trait is refused
            yield NeverSeen(f"{at}{field.key}", TRAIT, value.name)
        elif isinstance(field, QuestionsField):
            yield from _properties(at, field, value, str(getattr(condition, "event", "")))
        elif isinstance(field, FrequencyField) and value.measure:
            yield NeverSeen(f"{at}{value.measure}", PROPERTY, value.of, str(getattr(condition, "event", "")))
        elif isinstance(field, StepsField):
            for i, step in enumerate(value):
                yield NeverSeen(f"{at}{field.key}[{i}].name", EVENT, step.name)
                before = value[step.follows - 1].name if step.follows else str(getattr(condition, "event", ""))
                yield from _properties(f"{at}{field.key}[{i}].", field.questions, step.where, step.name, before)


def _properties(
    at: str, field: QuestionsField, asked: Sequence[Question], event: str, parent: str = ""
) -> Iterator[NeverSeen]:
    """parent: the event that a step follows, whose properties its own are compared with."""
    for i, question in enumerate(asked):
        yield NeverSeen(f"{at}{field.key}[{i}].{field.question.key}", PROPERTY, question.name, event)
        if question.reference:
            of, name = question.reference.of, question.reference.name
            what = (PROPERTY, name, parent) if of == PARENT else (TRAIT, name)
            yield NeverSeen(f"{at}{field.key}[{i}].value.{of}", *what)


def _with_one_alike(space: Space, unseen: NeverSeen) -> NeverSeen:
    known: Sequence[str]
    if unseen.what == EVENT:
        known = list(suggestions.events(space))
    elif unseen.what in EVENT_NAMES:
        known = list(suggestions.property_values(space, event=unseen.event, name=f"{unseen.what}_name"))
    elif unseen.what == TRAIT:
        known = list(suggestions.traits(space))
    else:
        known = list(suggestions.properties(space, event=unseen.event))
    by_small = {name.lower(): name for name in known}
    # Compared in small letters: another case is the slip that is made most.
    like = get_close_matches(unseen.name.lower(), by_small, 1, ALIKE)
    return replace(unseen, like=by_small[like[0]]) if like else unseen
