"""When the clock concerns whom: read for few people at once for all windows, it is what each window says by itself."""

import pytest
from pyroaring import BitMap

from audiences import moments
from audiences.rules.compiler import QueryScope, Span
from audiences.rules.grammar import bound, conditions, parse
from sources.events import client
from tests.random_definitions import DATE_OPS, NOWS, SLUGS, Drawn
from tests.worlds import inserted

pytestmark = pytest.mark.django_db
HOUR = 3_600_000


@pytest.fixture
def asked():
    drawn = Drawn(7, NOWS[3])
    space, log = inserted(drawn.world)
    everybody = BitMap([*drawn.world.known, *drawn.world.accounts])
    scopes = [QueryScope(1, space, client.seen(log), drawn.now, numbers) for numbers in (None, everybody)]
    windowed = [drawn.event(drawn.window(kind)) for kind in ("within", "between", "before") for _ in range(12)]
    followed = [drawn.event({"then": [drawn.step(within=True)]}) for _ in range(12)]
    dated = [drawn.of_trait(op) for op in DATE_OPS]
    nodes = [bound(parse(each), {}, SLUGS) for each in (*windowed, *followed, *dated)]
    triggers = {trigger for node in nodes for leaf in conditions(node) for trigger in leaf.time_triggers()}
    spans = [Span(trigger, drawn.now - (place % 3) * 24 * HOUR) for place, trigger in enumerate(triggers)]
    return scopes, spans


@pytest.mark.parametrize("most", [1_000, 2])
def test_few_people_have_the_moments_that_everybody_has(asked, most):
    (everyone, few), spans = asked
    expected, read = (moments.read(scope, spans, until=scope.now + HOUR, most=most) for scope in (everyone, few))
    assert read == expected
    assert sum(bool(due) for due, _ in read) > 10
    assert sum(len(coming) > 0 for _, coming in expected) > 2


def test_events_that_are_too_many_are_read_for_each_window(asked, monkeypatch):
    (everyone, few), spans = asked
    expected = moments.read(everyone, spans, until=everyone.now + HOUR, most=1_000)
    monkeypatch.setattr(moments, "MOST_EVENTS", 5)
    assert moments.read(few, spans, until=few.now + HOUR, most=1_000) == expected
