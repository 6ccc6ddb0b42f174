"""Five hundred random definitions about fifty people at ten moments: in full, narrowed, and by the slow reference.

`PERSONAS_ORACLE_SEED` draws the same again; every failure says which it was.
"""

import json
import os
import time
from collections import Counter
from fractions import Fraction

import pytest
from pyroaring import BitMap

from audiences.rules.aggregates import LOTS
from audiences.rules.compiler import SETTINGS, Asked, QueryScope, members, values
from audiences.rules.grammar import bound, parse, parse_trait
from sources.events import client
from sources.events.sql import sql
from tests.random_definitions import LEAST, NOWS, SLUGS, SPLITS, Drawn
from tests.worlds import alike, inserted

pytestmark = pytest.mark.django_db
TIMES = int(os.environ.get("PERSONAS_ORACLE_TIMES", "1"))  # `make oracle` draws ten times as many
SEED = int(os.environ.get("PERSONAS_ORACLE_SEED", "0")) or int(time.time())
# Both changes of the clocks in Europe, the end of a year, a leap day and the day behind it.
MOMENTS = [NOWS[1], NOWS[3], NOWS[6], NOWS[7], NOWS[8]]
DEFINITIONS, TRAITS = 100, 44  # about the world of each
AT_ONCE = 15  # per statement
WRONG_SHOWN = 10


class Asking:
    """A drawn world in the tables, and what they answer."""

    def __init__(self, seed, now):
        self.seed, self.drawn = seed, Drawn(seed, now)
        self.world, self.moment = self.drawn.world, self.drawn.moment
        self.space, self.log = inserted(self.world)
        self.others = {key: BitMap(people) for key, people in self.moment.others.items()}
        self.traits = {key: parse_trait(each) for key, each in self.moment.computed.items()}
        self.world.lots.update(self.lots())

    def lots(self):
        lots = sql(
            f"SELECT name, toUInt32(number + 1) AS profile, sipHash64(toUInt32(%s), name, profile) %% {LOTS}"
            " FROM numbers(%s) ARRAY JOIN %s AS name",
            self.space,
            max(self.world.known),
            SPLITS,
        )
        return {(name, number): lot for name, number, lot in client.rows(lots)}

    def scopes(self):
        """(whom the answers are about, the scope): everybody, and some."""
        numbers = BitMap(self.world.numbers(self.drawn.some))
        for people, narrow in ((self.world.people(), None), (self.drawn.some, numbers)):
            yield people, QueryScope(1, self.space, client.seen(self.log), self.moment.now, narrow)

    def wrong_members(self, asked):
        """What the tables answer otherwise than the reference does, each as a line."""
        nodes = [bound(parse(each), self.traits, SLUGS) for each in asked]
        nodes = [Asked(f"a{n}", node, include_anonymous=n % 4 == 0) for n, node in enumerate(nodes)]
        truths = [self.moment.members(each, include_anonymous=n % 4 == 0) for n, each in enumerate(asked)]
        for people, scope in self.scopes():
            for start in range(0, len(asked), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                found = client.bitmaps(members(scope, nodes[part], self.others), **SETTINGS)
                for definition, answer, truth in zip(asked[part], found, truths[part], strict=True):
                    for person in sorted(set(answer) ^ (truth & people)):
                        yield self.line(definition, scope, person, person in answer, person in truth)

    def wrong_values(self, asked):
        nodes = [Asked(f"t{n}", parse_trait(each), include_anonymous=True) for n, each in enumerate(asked)]
        truths = [{person: self.moment.value(each, person) for person in self.world.people()} for each in asked]
        for people, scope in self.scopes():
            for start in range(0, len(asked), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                rows = client.rows(values(scope, nodes[part]), **SETTINGS)
                texts = {person: row for person, *row in rows}
                assert texts.keys() <= people
                for person in people:
                    own = texts.get(person, [""] * len(nodes[part]))
                    for definition, text, truth in zip(asked[part], own, truths[part], strict=True):
                        value = json.loads(text, parse_float=Fraction) if text else None
                        if not alike(value, truth[person], definition):
                            yield self.line(definition, scope, person, value, truth[person])

    def line(self, definition, scope, person, answer, truth):
        how = "narrowed" if scope.numbers is not None else "in full"
        known = {key: each for key, each in self.moment.computed.items() if f'"{key}' in json.dumps(definition)}
        return (
            f"person {person} at {self.moment.now}, {how}: {answer!r}, and {truth!r} by the reference: "
            f"{json.dumps(definition)} {json.dumps(known) if known else ''}"
        )

    def smallest(self, definition):
        """A part of it that is answered wrongly on its own, or else the whole."""
        wrong = (part for part in parts(definition) if any(self.wrong_members([part])))
        part = next(wrong, None)
        return definition if part is None else self.smallest(part)


def parts(node):
    """What is left of it without something."""
    if "not" in node:
        yield node["not"]
    yield from (*node.get("all", []), *node.get("any", []))
    for key in ("then", "where"):
        if len(node.get(key, [])) > 1:
            yield {**node, key: node[key][:-1]}
    for key in ("then", "where", "within", "between", "on", "sources"):
        if key in node:
            yield {name: value for name, value in node.items() if name != key}


@pytest.fixture(scope="module", params=range(TIMES))
def asking(request, django_db_setup):
    return [Asking(SEED + 10 * request.param + n, now) for n, now in enumerate(MOMENTS)]


def test_audiences_are_whom_the_reference_says(asking):
    varied, wrong = Counter(), []
    for each in asking:
        most = 2 * DEFINITIONS if each is asking[-1] else 0
        asked = each.drawn.definitions(DEFINITIONS, varied, most=most)
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            found = [*each.wrong_members(part)]
            if found and not wrong:
                small = map(each.smallest, (one for one in part if any(each.wrong_members([one]))))
                found += [f"the smallest part that differs: {json.dumps(one)}" for one in small]
            wrong += found
    assert_right(wrong)
    assert_varied(varied, asking[0].drawn.recipes())


def test_computed_traits_are_what_the_reference_says(asking):
    varied, wrong = Counter(), []
    for each in asking:
        most = 2 * TRAITS if each is asking[-1] else 0
        wrong += each.wrong_values(each.drawn.trait_definitions(TRAITS, varied, most=most))
    assert_right(wrong)
    assert_varied(varied, asking[0].drawn.trait_recipes())


def assert_right(wrong):
    assert not wrong, "\n".join([f"PERSONAS_ORACLE_SEED={SEED}: {len(wrong)} answers differ", *wrong[:WRONG_SHOWN]])


def assert_varied(varied, recipes):
    """Each of them was in at least so many conditions whose answers are not all alike."""
    assert {name: varied[name] for name in recipes if varied[name] < LEAST} == {}
