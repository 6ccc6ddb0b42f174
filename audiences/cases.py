"""Test cases of audiences and computed traits: kept with them, and asked whenever a definition is saved."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pyroaring import BitMap

from audiences import explain, queries, trait_values
from audiences.explain import Reason
from audiences.models import Audience, Version, bound, sources_named
from audiences.rules import grammar
from audiences.rules.cases import DefinitionCase, memberships_in, parse_case, scope_of
from audiences.rules.compiler import Asked, QueryScope
from audiences.rules.grammar import Node
from audiences.rules.validation import DefinitionError
from audiences.rules.whom import WHOM
from spaces.times import milliseconds

MOST_EXPLAINED = 5  # cases that are broken: each condition of each costs a look at its rows


@dataclass(frozen=True)
class KeptCase:
    """A case with the id by which it is changed."""

    id: str
    case: DefinitionCase


@dataclass(frozen=True)
class CaseOutcome:
    """What came of a case. came: as its `expected`; None also when nobody can say, and `problem` says why not.

    reasons: what each condition came to, of a case that is broken.
    """

    kept: KeptCase
    came: Any
    problem: str = ""
    reasons: Sequence[Reason] = ()

    @property
    def holds(self) -> bool:
        came, expected = self.came, self.kept.case.expected
        # In Python 1 and true are equal.
        return not self.problem and came == expected and isinstance(came, bool) == isinstance(expected, bool)

    @property
    def shown(self) -> dict[str, Any]:
        """The case as JSON."""
        return self.kept.case.json()

    @property
    def sentence(self) -> str:
        """What was expected, and what came."""
        if self.problem:
            return f"It cannot be asked: {self.problem}"
        return f"Expected {_in_words(self.kept.case.expected)}, and it is {_in_words(self.came)}."


class BrokenCases(ValueError):
    """A definition of which some cases are no longer as expected. The message is for the user."""

    def __init__(self, outcomes: Sequence[CaseOutcome]) -> None:
        count = "a test case" if len(outcomes) == 1 else f"{len(outcomes)} test cases"
        super().__init__(f"It breaks {count}: {', '.join(one.kept.case.title for one in outcomes)}.")
        self.outcomes = outcomes

    @property
    def messages(self) -> list[str]:
        """One for each case: what was expected, what came, and what each condition came to."""
        messages = []
        for outcome in self.outcomes:
            words = [f"{outcome.kept.case.title}: {outcome.sentence}"]
            for reason in outcome.reasons:
                answer = f" ({reason.answer})" if reason.answer else ""
                words.append(f"“{reason.sentence}” is {'true' if reason.holds else 'not true'}{answer}.")
            messages.append(" ".join(words))
        return messages


def kept_of(audience: Audience) -> list[KeptCase]:
    """Its cases in their order. One that this release cannot read is left out; it stays where it is kept."""
    kept = []
    for row in audience.cases:
        try:
            case = parse_case(
                {name: value for name, value in row.items() if name != "id"},
                of_trait=audience.kind == Audience.Kind.TRAIT,
                of=audience.of,
            )
        except DefinitionError:
            continue
        kept.append(KeptCase(str(row["id"]), case))
    return kept


def run(audience: Audience, definition: Any = None) -> list[CaseOutcome]:
    """What comes of each of its cases, by a definition or by its newest one. Raises DefinitionError."""
    kept = kept_of(audience)
    if not kept:
        return []
    if definition is None:
        definition = _newest(audience)
    is_trait = audience.kind == Audience.Kind.TRAIT
    node = bound(audience.space_id, grammar.parse_trait(definition) if is_trait else grammar.parse(definition))
    if audience.events_since is not None:
        node = grammar.beginning(node, milliseconds(audience.events_since))
    grammar.check_of(node, audience.of)
    if problem := why_none(audience, node):
        return [CaseOutcome(one, None, problem=problem) for one in kept]
    by_id: dict[str, CaseOutcome] = {}
    # A statement is of one moment, and costs some milliseconds to plan: cases of the same one share it.
    for _, of_moment in groupby(sorted(kept, key=lambda one: one.case.at), key=lambda one: one.case.at):
        together = list(of_moment)
        try:
            outcomes = _asked(audience, node, together)
        except queries.Unanswerable as error:
            outcomes = [CaseOutcome(one, None, problem=str(error)) for one in together]
        by_id |= {outcome.kept.id: outcome for outcome in outcomes}
    broken = [outcome for outcome in by_id.values() if not outcome.holds and not outcome.problem]
    if not is_trait:  # of a trait the value that came says it all
        for outcome in broken[:MOST_EXPLAINED]:
            by_id[outcome.kept.id] = _explained(audience, node, outcome)
    return [by_id[one.id] for one in kept]


def why_none(audience: Audience, node: Node | None = None) -> str:
    """Why no case of it can be asked by a definition or by its newest one; "" = they can, or that cannot be read."""
    if node is None:
        if audience.kind == Audience.Kind.TRAIT:
            return ""
        try:
            node = grammar.parse(_newest(audience))
        except DefinitionError:
            return ""
    for group in grammar.related(node):
        # To make up others as well, and who belongs to whom, would be more than anybody wants to describe.
        others = WHOM[group.of].many
        return f"A test case is about one {audience.whom.one} alone, and the definition asks about {others} beside it."
    return ""


def refuse_broken(audience: Audience, definition: Any) -> None:
    """Raises BrokenCases when the definition breaks a case, and DefinitionError."""
    broken = [outcome for outcome in run(audience, definition) if not outcome.holds]
    if broken:
        raise BrokenCases(broken)


def _newest(audience: Audience) -> Any:
    newest = Version.objects.filter(audience=audience).order_by("-number")
    return newest.values_list("definition", flat=True)[0]


def _asked(audience: Audience, node: Node, kept: Sequence[KeptCase]) -> list[CaseOutcome]:
    """Of cases of one moment, in one statement. Raises Unanswerable."""
    cases = [one.case for one in kept]
    scope = _scope(audience, cases)
    asked = Asked("", node, audience.include_anonymous, audience.of)
    if audience.kind == Audience.Kind.TRAIT:
        (values,) = trait_values.computed(scope, [asked])
        came = [json.loads(values[number]) if number in values else None for number in range(1, len(cases) + 1)]
    else:
        (members,) = queries.answer(scope, [asked], _others(node, cases))
        came = [number in members for number in range(1, len(cases) + 1)]
    return [CaseOutcome(one, answer) for one, answer in zip(kept, came, strict=True)]


def _explained(audience: Audience, node: Node, outcome: CaseOutcome) -> CaseOutcome:
    cases = [outcome.kept.case]
    scope = _scope(audience, cases)
    shown = list(grammar.parts(node))[: explain.MOST_CONDITIONS]
    asked = [Asked("", part, include_anonymous=True, of=audience.of) for _, part in shown]
    # 0 is what an event of a case has that names no source.
    names = explain.source_names(audience.space) | {0: "no known source"}
    try:
        holds = [1 in answer for answer in queries.answer(scope, asked, _others(node, cases))]
        reasons = explain.reasons(scope, shown, audience.of, holds, 1, names)
    except queries.Unanswerable:
        return outcome
    return CaseOutcome(outcome.kept, outcome.came, reasons=reasons)


def _others(node: Node, cases: Sequence[DefinitionCase]) -> dict[str, BitMap]:
    return memberships_in(cases, list(grammar.audiences(node)), list(grammar.memberships(node)))


def _scope(audience: Audience, cases: Sequence[DefinitionCase]) -> QueryScope:
    slugs = {event.source for case in cases for event in case.events if event.source}
    # Cases name sources by slug, as definitions do; the statement knows their keys.
    sources = sources_named(audience.space_id, slugs)
    return scope_of(cases, space=audience.space_id, sources=sources, of=audience.of)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "in" if value else "out"
    return "no value" if value is None else json.dumps(value, ensure_ascii=False)
