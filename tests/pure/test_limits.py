"""What PERSONAS_LIMITS says."""

import pytest

from spaces.limits import Limits


def test_nothing_said_leaves_rates_open_and_statements_within_reason() -> None:
    limits = Limits("")
    assert limits.rate("source", "src_1") == limits.rate("workspace", "wsp_1") == 0
    asked, work = limits.statement("wsp_1", asked=True), limits.statement("wsp_1", asked=False)
    assert asked == {"max_execution_time": 20, "max_memory_usage": 2_000_000_000}
    assert work == {"max_execution_time": 300}


def test_a_profile_api_is_asked_a_hundred_times_a_second_unless_somebody_says_otherwise() -> None:
    assert Limits("").reads("spa_1") == 100
    limits = Limits('{"space": {"reads_per_second": 20}, "spa_big": {"reads_per_second": 0}}')
    assert [limits.reads(space) for space in ("spa_1", "spa_big")] == [20, 0]


def test_what_is_said_of_one_comes_before_what_is_said_of_all() -> None:
    limits = Limits(
        '{"workspace": {"events_per_second": 10}, "source": {"events_per_second": 5}, "ask": {"threads": 1},'
        ' "wsp_big": {"events_per_second": 0, "ask": {"seconds": 60, "memory_mb": 0}, "work": {"threads": 2}},'
        ' "src_loud": {"events_per_second": 0.5}}'
    )
    assert [limits.rate("workspace", one) for one in ("wsp_a", "wsp_big")] == [10, 0]
    assert [limits.rate("source", one) for one in ("src_a", "src_loud")] == [5, 0.5]
    assert limits.statement("wsp_a", asked=True)["max_threads"] == 1
    assert limits.statement("wsp_a", asked=True)["max_execution_time"] == 20
    assert limits.statement("wsp_big", asked=True) == {"max_execution_time": 60, "max_threads": 1}
    assert limits.statement("wsp_big", asked=False) == {"max_execution_time": 300, "max_threads": 2}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"ask": {"second": 1}}', '{"wsp_a": {"rate": 1}}', '{"work": {"seconds": "long"}}']
)
def test_what_nobody_can_read_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Limits(text)
