"""Which other rules the evidence speaks for."""

import pytest

from identity.rules.insights import Hub, fitting_limit, is_shared, most_within, recommendations
from identity.rules.policy import DAY_MS, DEFAULT_POLICY, Definition, Limit

DEVICE = ("android.id", "d1")
EACH_DAY = [DAY_MS * day for day in range(30)]


@pytest.mark.parametrize(("period", "most"), [("daily", 1), ("weekly", 7), ("monthly", 30), ("ever", 30)])
def test_times_are_counted_within_any_period(period, most):
    assert most_within(reversed(EACH_DAY), period) == most


@pytest.mark.parametrize(
    ("type", "reason", "shared"),
    [
        ("email", "user_id allows 1 ever", True),
        ("anonymous_id", "anonymous_id allows 5 per week", False),
        ("email", "a profile allows 100 merges", False),
        ("email", "they were split by hand", False),
    ],
)
def test_an_identifier_is_shared_that_was_refused_for_another_type(type, reason, shared):
    assert is_shared(type, reason) is shared


def test_a_limit_fits_nine_in_ten_of_those_who_have_more():
    definition = Definition("android.id", Limit(5))
    people = [EACH_DAY[:3]] * 50 + [EACH_DAY[:8]] * 9 + [EACH_DAY]
    assert fitting_limit(definition, people) == Limit(8, "annually")
    assert fitting_limit(definition, people[:50]) is None
    assert fitting_limit(Definition("android.id", Limit(8, "annually")), people) == Limit(30, "annually")
    assert fitting_limit(Definition("user_id", Limit(1)), people) is None


def test_what_is_shared_is_blocked_and_a_crowd_moves_no_limit():
    hubs = [Hub(DEVICE, 7, 12, 40, 1), Hub(("android.id", "d2"), 8, 2, 2, 3), Hub(("user_id", "u1"), 9, 50, 50, 4)]
    crowd, person = {"anonymous_id": EACH_DAY}, {"anonymous_id": EACH_DAY[:6]}
    block, limit = recommendations(DEFAULT_POLICY, hubs, {1: crowd, 2: person})
    assert (block.type, block.block, block.filled_in) == ("android.id", hubs[:1], "block=7")
    assert (limit.type, limit.limit, limit.filled_in) == (
        "anonymous_id",
        Limit(6, "weekly"),
        "limit=anonymous_id:6:weekly",
    )
    rules = limit.applied(block.applied(DEFAULT_POLICY))
    assert rules.limit("anonymous_id") == Limit(6, "weekly")
    assert "d1" in rules.identifiers[rules.rank["android.id"]].blocked.values
    assert recommendations(DEFAULT_POLICY, hubs[:1], {1: crowd})[1:] == []
