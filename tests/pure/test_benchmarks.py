"""The benchmarks can be started: what they measure is theirs to say."""

from collections import Counter
from importlib import import_module

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.figures import Cost, Figure


@pytest.mark.parametrize("name", NAMES)
def test_each_named_benchmark_can_be_asked_to_measure(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").measure)


def test_a_figure_is_compared_with_its_floor() -> None:
    assert Figure("rate", 50.0, "events/s", floor=200.0).ratio == 0.25
    assert Figure("rate", 50.0, "events/s").ratio is None


def test_a_cost_names_the_share_of_each_process_and_counts_the_stack_without_whoever_measures() -> None:
    cost = Cost(Counter(web=3.0, postgres=1.0, generator=2.0, beat=0.001), elapsed_s=4.0, mib=100)
    assert cost.cpu_s == pytest.approx(4.001)
    assert str(cost).endswith("of a core: web 75%, generator 50%, postgres 25%")
