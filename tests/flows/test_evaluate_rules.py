"""Whatever happens in whatever order: after each tick everyone is where a full computation of that moment has them."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from access.services import COMMAND, NotPossible
from audiences import computes, evaluate, queries, services
from audiences.grammar import parse
from audiences.models import Audience, Change
from audiences.reading import DefinitionError
from tests.factories_audiences import World
from tests.factories_identity import NOON, message
from tests.worlds import definitions

pytestmark = pytest.mark.django_db

USERS, VISITORS, EVENTS = ["u1", "u2", "u3"], ["a1", "a2", "a3"], ["Seen", "Bought"]
SPANS = [
    *(timedelta(seconds=seconds) for seconds in (1, 30, 60)),
    *(timedelta(hours=hours) for hours in (1, 24, 24 * 7)),
]
WINDOWS = [{"minutes": 1}, {"hours": 1}, {"days": 1}, {"days": 7}]

ids = st.fixed_dictionaries(
    {}, optional={"userId": st.sampled_from(USERS), "anonymousId": st.sampled_from(VISITORS)}
).filter(bool)
ages = st.sampled_from([timedelta(), timedelta(seconds=1), *SPANS, timedelta(days=8), timedelta(seconds=-1)])
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
KEYS = ["k1", "k2", "k3", "k4"]
meant = definitions(*KEYS[:3], leaves=leaves)
first_too = {"kind": "audience", "key": "k1"}
meant_first = st.builds(
    lambda each, word, no: {word: [{"not": first_too} if no else first_too, each]},
    leaves,
    st.sampled_from(["all", "any"]),
    st.booleans(),
)
which = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("tell"), st.lists(told, min_size=1, max_size=3)),
    st.tuples(st.just("tell"), st.lists(told, min_size=1, max_size=3)),
    st.tuples(st.just("wait"), st.sampled_from(SPANS)),
    st.tuples(st.just("tick")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("compute"), which),
    st.tuples(st.just("create"), leaves, st.booleans()),
    st.tuples(st.just("create"), meant, st.booleans()),
    st.tuples(st.just("edit"), which, meant),
    st.tuples(st.just("switch"), which, st.booleans()),
    st.tuples(st.just("delete"), which),
)


class Story:
    """What happens in one space, and what must be true of it all along."""

    def __init__(self) -> None:
        self.world = World()
        self.frozen: dict[int, BitMap] = {}  # who was in the audiences that are switched off

    @property
    def audiences(self) -> list[Audience]:
        return list(Audience.objects.filter(space=self.world.space, deleted_at=None).order_by("pk"))

    def tell(self, messages: Any) -> None:
        at = self.world.clock.now()
        sent = [
            message(type, at=round((at - age - NOON).total_seconds() * 1000), **ids, **fields)
            for type, ids, age, fields in messages
        ]
        self.world.sent(*sent)

    def wait(self, span: timedelta) -> None:
        self.world.clock.advance(span)

    def tick(self) -> None:
        """Only when the stage itself says that there is something to do."""
        if self.world.space.pk in evaluate.waiting(self.world.clock.now()):
            self.world.ticked()
        self.look()

    def compute(self, number: int) -> None:
        """One version alone: it joins at some later tick."""
        ready = computes.computing()
        if ready:
            computes.compute(ready[number % len(ready)], self.world.clock)

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

    def switch(self, number: int, enabled: bool) -> None:
        self._change(number, enabled=enabled)

    def delete(self, number: int) -> None:
        for audience in self.audiences[number : number + 1]:
            self._try(services.delete_audience, audience, now=self.world.clock.now())

    def look(self) -> None:
        for audience in self.audiences:
            members = queries.members(audience)
            assert telescoped(audience) == members
            if audience.serving is None:
                assert not members
                continue
            assert audience.size == len(members)
            if audience.enabled:
                assert members == self.full(audience), (audience.key, audience.serving.definition)
            else:
                assert members == self.frozen.setdefault(audience.pk, members)

    def full(self, audience: Audience) -> BitMap:
        found = queries.matching(
            self.world.space,
            parse(audience.serving.definition),
            include_anonymous=audience.include_anonymous,
            now=self.world.clock.now(),
        )
        return found.members

    def finish(self) -> None:
        """Everything that can be computed is, and serves: the newest definition of each."""
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], report_multiple_bugs=False)
@given(leaves, meant_first, st.lists(told, max_size=8), st.lists(steps, min_size=3, max_size=14))
def test_members_are_those_of_a_full_computation_at_every_tick(first, second, before, after):
    """Two audiences are live, one of them part of the other, and people were there before them; then anything."""
    story = Story()
    for each in before:
        story.tell([each])
    story.create(first, True)
    story.create(second, False)
    story.finish()
    for name, *args in after:
        getattr(story, name)(*args)
    story.tick()
    story.finish()
