"""Whatever happens in whatever order: after each tick everyone is where a full computation of that moment has them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from access.services import COMMAND, NotPossible
from audiences import backfill, evaluate, moments, queries, services
from audiences.models import Audience, Change, Version
from audiences.rules.compiler import Asked
from audiences.rules.grammar import parse
from audiences.rules.validation import DefinitionError
from sources.events import client
from sources.events.sql import Sql
from tests.factories_audiences import World
from tests.factories_identity import NOON, message
from tests.worlds import definitions

pytestmark = pytest.mark.django_db

USERS, VISITORS, EVENTS = ["u1", "u2", "u3", "u4"], ["a1", "a2", "a3"], ["Seen", "Bought"]
WINDOWS = [{"minutes": 1}, {"hours": 1}]  # few, so that audiences wait for the same moments
SPANS = [timedelta(seconds=seconds) for seconds in (1, 30, 60, 3540, 3600)]

ids = st.fixed_dictionaries(
    {}, optional={"userId": st.sampled_from(USERS), "anonymousId": st.sampled_from(VISITORS)}
).filter(bool)
ages = st.sampled_from([timedelta(), *SPANS, timedelta(seconds=-1)])
told = st.one_of(
    st.tuples(st.just("track"), ids, ages, st.builds(lambda name: {"event": name}, st.sampled_from(EVENTS))),
    st.tuples(
        st.just("identify"),
        ids,
        ages,
        st.builds(lambda plan: {"traits": {"plan": plan}}, st.sampled_from(["pro", None])),
    ),
)
leaves = st.one_of(
    st.builds(
        lambda name, times, within: {"kind": "event", "name": name, **times, **within},
        st.sampled_from(EVENTS),
        st.sampled_from([{}, {"atLeast": 2}, {"exactly": 0}, {"exactly": 1}, {"atMost": 1}]),
        st.sampled_from([{}, *({"within": each} for each in WINDOWS)]),
    ),
    st.sampled_from(
        [
            {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"},
            {"kind": "trait", "name": "plan", "op": "notExists"},
        ]
    ),
)
KEYS = ["k1", "k2", "k3", "k4", "k5"]
meant = definitions(*KEYS[:3], leaves=leaves)
first_too = {"kind": "audience", "key": "k1"}
meant_first = st.builds(
    lambda each, word, no: {word: [{"not": first_too} if no else first_too, each]},
    leaves,
    st.sampled_from(["all", "any"]),
    st.booleans(),
)
which = st.integers(0, 4)
looks = st.sampled_from([True, True, False])  # whether a tick follows at once
tells = st.tuples(st.just("tell"), st.lists(told, min_size=2, max_size=5), looks)
waits = st.tuples(st.just("wait"), st.sampled_from(SPANS), looks)
redefined = meant | meant_first | leaves
changes = st.one_of(
    st.tuples(st.just("create"), meant, st.booleans()),
    st.tuples(st.just("edit"), which, redefined),
    st.tuples(st.just("switch"), which, st.booleans()),
    st.tuples(st.just("switch"), which, st.just(True)),
    st.tuples(st.just("delete"), which),
)
meanwhile = st.just(()) | st.tuples(tells | waits, tells | waits | changes)
computes_too = st.tuples(st.just("compute"), which, meanwhile)
redefines = st.tuples(st.just("redefine"), which, redefined, meanwhile)
elsewhere = st.tuples(st.just("elsewhere"), st.integers(0, 1))
puts_back = st.tuples(st.just("wait"), st.sampled_from([timedelta(hours=-1), timedelta(hours=-3)]), looks)
engines = st.tuples(st.just("engine"), st.sampled_from([None, "Seen", "Bought", "plan"]))
steps = st.one_of(
    *(tells, tells, tells, tells, waits, waits, changes, computes_too, redefines, redefines, engines, puts_back),
    *(elsewhere, elsewhere),
)


PLAIN = [
    ({"kind": "event", "name": "Seen"}, False),
    ({"kind": "event", "name": "Bought", "within": {"hours": 1}}, True),
]


class Story:
    """What happens in one space, and what must be true of it all along."""

    def __init__(self) -> None:
        self.world = World()
        self.frozen: dict[int, BitMap] = {}  # who was in the audiences that are switched off
        self.behind: dict[int, int] = {}  # switched on again: nothing is promised before this version serves
        self.refused: str | None = None  # what the engine runs out of memory over: statements with this text
        self.memories = [moments.memory() for _ in range(2)]
        self.elsewhere(0)

    @property
    def audiences(self) -> list[Audience]:
        return list(Audience.objects.filter(space=self.world.space, deleted_at=None).order_by("pk"))

    def play(self, steps: Any) -> None:
        for name, *args in steps:
            getattr(self, name)(*args)

    def tell(self, messages: Any, then_tick: bool) -> None:
        at = self.world.clock.now()
        sent = [
            message(type, at=round((at - age - NOON).total_seconds() * 1000), **ids, **fields)
            for type, ids, age, fields in messages
        ]
        self.world.sent(*sent)
        if then_tick:
            self.tick()

    def wait(self, span: timedelta, then_tick: bool) -> None:
        self.world.clock.advance(span)
        if then_tick:
            self.tick()

    def tick(self) -> None:
        """Only when the stage itself says that there is something to do."""
        if self.world.space.pk in evaluate.waiting(self.world.clock.now()):
            self.world.ticked()
        self.look()

    def compute(self, number: int, meanwhile: Any) -> None:
        """One version alone: it joins at some later tick. meanwhile: what happens once its query is under way."""
        ready = self.world.ready()
        answer = queries.answer

        def slow(*args: Any) -> Any:
            queries.answer = answer
            found = answer(*args)
            self.play(meanwhile)
            return found

        if ready:
            queries.answer = slow
            try:
                backfill.compute(ready[number % len(ready)], self.world.clock)
            finally:
                queries.answer = answer

    def elsewhere(self, process: int) -> None:
        """What follows is evaluated by this process, which remembers what it did itself."""
        moments._recent = self.memories[process]

    def engine(self, text: str | None) -> None:
        self.refused = text

    def create(self, definition: Any, include_anonymous: bool) -> None:
        taken = Audience.objects.filter(space=self.world.space).count()
        if taken < len(KEYS):
            self._try(
                services.create_audience,
                self.world.space,
                name=KEYS[taken],
                definition=definition,
                include_anonymous=include_anonymous,
            )

    def edit(self, number: int, definition: Any) -> None:
        self._change(number, definition=definition)

    def redefine(self, number: int, definition: Any, meanwhile: Any) -> None:
        self.edit(number, definition)
        self.compute(-1, meanwhile)
        self.tick()

    def switch(self, number: int, enabled: bool) -> None:
        was_off = {audience.pk for audience in self.audiences if not audience.enabled}
        self._change(number, enabled=enabled)
        for audience in self.audiences[number : number + 1]:
            if enabled and audience.pk in was_off:
                self.behind[audience.pk] = audience.versions.latest("number").number

    def delete(self, number: int) -> None:
        for audience in self.audiences[number : number + 1]:
            self._try(services.delete_audience, audience, now=self.world.clock.now())

    def look(self) -> None:
        kept = {audience.key: queries.members(audience) for audience in self.audiences}
        live = [audience for audience in self.audiences if audience.serving is not None]
        for audience in self.audiences:
            assert telescoped(audience) == kept[audience.key]
        assert {audience.key for audience in live} >= {key for key, members in kept.items() if members}
        for audience, full in zip(live, self.full(live, kept), strict=True):
            members = kept[audience.key]
            assert audience.size == len(members)
            if audience.serving.number < self.behind.get(audience.pk, 0):
                continue
            if audience.enabled and audience.serving.state != Version.State.LIVE:
                assert audience.serving.failures or self.refused
                continue  # it is behind, and says so
            expected = full if audience.enabled else self.frozen.setdefault(audience.pk, members)
            assert members == expected, (audience.key, audience.serving.definition)

    def full(self, live: list[Audience], kept: dict[str, BitMap]) -> list[BitMap]:
        """Who is meant by each now, by the full query, given who is in the others."""
        space, now = self.world.space, self.world.clock.now()
        asked = [Asked(f"look {each.key}", parse(each.serving.definition), each.include_anonymous) for each in live]
        with self.well():
            return queries.answer(queries.scope_of(space, queries.resolved(space), now), asked, kept) if asked else []

    @contextmanager
    def well(self) -> Iterator[None]:
        refused, self.refused = self.refused, None
        yield
        self.refused = refused

    def finish(self) -> None:
        """Everything that can be computed is, and serves: the newest definition of each."""
        self.refused = None
        for _ in range(4):  # a wait that a clock noted which was put back may be over later than an hour from now
            if Version.objects.filter(audience__space=self.world.space, retry_at__isnull=False).exists():
                self.wait(timedelta(hours=1), True)
            self.world.computed()
        self.tick()
        for audience in self.audiences:
            newest = audience.versions.order_by("-number")[0]
            assert not audience.enabled or audience.serving == newest

    def _change(self, number: int, **changes: Any) -> None:
        for audience in self.audiences[number : number + 1]:
            self._try(services.change_audience, audience, **changes)
            self.frozen.pop(audience.pk, None)

    def _try(self, change: Any, *args: Any, **fields: Any) -> None:
        with suppress(DefinitionError, NotPossible):
            change(*args, by=COMMAND, **fields)


def telescoped(audience: Audience) -> BitMap:
    """The members, from the changes alone. Nobody enters who is in, nobody leaves who is not."""
    members = BitMap()
    for change in Change.objects.filter(audience=audience).order_by("tick", "pk"):
        entered, left = queries.bitmap(change.entered), queries.bitmap(change.left)
        assert not entered & members
        assert left <= members
        assert not entered & left
        members = (members - left) | entered
        assert not queries.bitmap(change.refreshed) - members
    return members


REAL = {"bitmaps": client.bitmaps, "rows": client.rows}


def refusing(story: Story, real: Any) -> Any:
    def ask(query: Sql, **limits: Any) -> Any:
        if story.refused and story.refused in str(query.values):
            raise DatabaseError("Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", code=241)
        return real(query, **limits)

    return ask


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    report_multiple_bugs=False,
)
@given(leaves, meant_first, st.lists(told, max_size=4), st.lists(steps, min_size=10, max_size=16))
def test_members_are_those_of_a_full_computation_at_every_tick(monkeypatch, first, second, before, after):
    """Some audiences are live, one of them part of another, and people were there before them; then anything.

    That the engine cannot answer for some of them, too: they are behind until it can, and the others are not. And that
    the clock ran ahead and is put back, and that two processes evaluate by turns.
    """
    story = Story()
    for name in ("bitmaps", "rows"):
        monkeypatch.setattr(client, name, refusing(story, REAL[name]))
    story.tell(before, False)
    story.create(first, True)
    story.create(second, False)
    for definition, include_anonymous in PLAIN:
        story.create(definition, include_anonymous)
    story.finish()
    story.play(after)
    story.tick()
    story.finish()
