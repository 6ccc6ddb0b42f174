"""Charts: every value has its place on the canvas, and the words that go with it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.pages.charts import NARROW, WIDE, bars, spark, stepped

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
VALUES = st.lists(st.integers(0, 10**9), min_size=1, max_size=40)


@given(VALUES)
def test_every_value_is_on_the_canvas_and_says_what_it_is(values):
    points = [(BEGIN + timedelta(hours=at), value) for at, value in enumerate(values)]
    chart = stepped(points, label="Size", until=BEGIN + timedelta(days=3))
    for drawn, on in ((chart, WIDE), (chart.narrow, NARROW)):
        assert len(drawn.dots) == len(values)
        for (_, value), dot in zip(points, drawn.dots, strict=True):
            assert on.left <= float(dot.x) <= on.width - on.right
            assert 0 <= float(dot.y) <= on.base
            assert dot.title.endswith(f": {value:,}")


def test_a_larger_value_is_higher_and_a_later_one_further_right():
    chart = stepped([(BEGIN, 10), (BEGIN + timedelta(days=1), 30), (BEGIN + timedelta(days=2), 20)], label="Size")
    low, high, middle = chart.dots
    assert float(high.y) < float(middle.y) < float(low.y)
    assert float(low.x) < float(high.x) < float(middle.x)


def test_a_single_moment_is_a_chart_too():
    assert stepped([(BEGIN, 0)], label="Size").dots[0].title == "01 Jun 2026, 00:00 UTC: 0"


def test_a_narrow_chart_names_fewer_moments_and_is_as_wide_as_a_phone():
    chart = bars([(f"{day} Jun", day) for day in range(1, 31)], label="Events by day")
    assert (len(chart.columns), len(chart.narrow.columns)) == (5, 3)
    assert chart.narrow.canvas.width <= 320
    assert [dot.title for dot in chart.narrow.dots] == [dot.title for dot in chart.dots]


@pytest.mark.parametrize(
    ("value", "label"), [(400, "500"), (150_000, "200,000"), (2_400_000, "2.5 m"), (9_000_000_000, "10 bn"), (0, "1")]
)
def test_labels_at_the_side_are_short_round_numbers(value, label):
    assert bars([("Mon", value)], label="Events").rows[-1].label == label


def test_bars_stand_on_the_base_side_by_side():
    chart = bars([("Mon", 3), ("Tue", 6)], label="Events by day")
    one, two = chart.dots
    assert float(one.y) + float(one.height) == float(two.y) + float(two.height) == WIDE.base
    assert float(one.x) + float(one.width) < float(two.x)
    assert float(two.height) == 2 * float(one.height)
    assert bars([], label="Nothing").dots == []


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=30))
def test_a_spark_has_a_place_for_every_value(values):
    assert spark(values).count("L") == len(values) - 1


def test_one_value_has_no_course():
    assert spark([3]) == ""
