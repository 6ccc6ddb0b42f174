"""The benchmarks can be started: what they measure is theirs to say."""

from importlib import import_module

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.figures import Figure


@pytest.mark.parametrize("name", NAMES)
def test_each_named_benchmark_can_be_asked_to_measure(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").measure)


def test_a_figure_is_compared_with_its_floor() -> None:
    assert Figure("rate", 50.0, "events/s", floor=200.0).ratio == 0.25
    assert Figure("rate", 50.0, "events/s").ratio is None
