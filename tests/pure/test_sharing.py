"""How much of the threads that take in events one workspace has beside others."""

import pytest

from personas_site import sharing
from personas_site.sharing import OTHERS_S, SHARE, Shares
from spaces import processor

BUSY, CALM = 1, 2
COST_S, PATIENCE_S = 0.01, 1.0


def flood(shares: Shares, *, short: bool = True, begin: float = 0.0) -> int:
    """How many requests of BUSY may begin within a second, when it sends four times as many as a thread could serve."""
    begun = 0
    for place in range(400):
        now = begin + place / 400
        wait = shares.wait(BUSY, now, PATIENCE_S, short=short)
        begun += wait is not None and now + wait < begin + 1
        shares.took(BUSY, COST_S)
    return begun


def with_known_costs() -> Shares:
    shares = Shares()
    for _ in range(100):
        shares.wait(BUSY, 0.0, PATIENCE_S, short=False)
        shares.took(BUSY, COST_S)
    return shares


def test_alone_a_workspace_has_all_of_it() -> None:
    assert flood(with_known_costs()) == 400


def test_beside_others_it_has_its_share() -> None:
    shares = with_known_costs()
    assert shares.wait(CALM, 0.0, PATIENCE_S, short=True) == 0.0
    assert flood(shares) == pytest.approx(SHARE / COST_S, rel=0.05)


def test_who_would_wait_too_long_is_told_so_and_counts_for_nothing() -> None:
    shares = with_known_costs()
    shares.wait(CALM, 0.0, PATIENCE_S, short=True)
    waits = [shares.wait(BUSY, 0.0, PATIENCE_S, short=True) for _ in range(1_000)]
    assert waits.count(None) == pytest.approx(1_000 - SHARE * PATIENCE_S / COST_S, abs=2)
    assert shares.wait(BUSY, 0.1, PATIENCE_S, short=True) is not None


def test_whoever_sends_little_waits_for_nobody() -> None:
    shares = with_known_costs()
    flood(shares)
    assert [shares.wait(CALM, 1 + place, PATIENCE_S, short=True) for place in range(10)] == [0.0] * 10


def test_where_there_is_processor_enough_nobody_makes_way() -> None:
    shares = with_known_costs()
    shares.wait(CALM, 0.0, PATIENCE_S, short=False)
    assert flood(shares, short=False) == 400


def test_others_who_have_not_sent_for_a_while_count_no_more() -> None:
    shares = with_known_costs()
    shares.wait(CALM, 0.0, PATIENCE_S, short=True)
    assert flood(shares, begin=OTHERS_S + 1) == 400


def test_of_any_number_of_workspaces_the_last_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST_KNOWN", 10)
    shares = Shares()
    for workspace in range(100):
        shares.wait(workspace, float(workspace), PATIENCE_S, short=True)
    assert [*shares._usages] == [*range(90, 100)]


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("some avg10=3.10 avg60=50.00 avg300=1.00 total=5\nfull avg10=90.00 avg60=0.00 avg300=0.00 total=0\n", False),
        ("some avg10=20.00 avg60=0.00 avg300=0.00 total=5\n", True),
        ("", False),
        (None, False),
    ],
)
def test_a_processor_is_short_when_somebody_had_to_wait_for_it(tmp_path, monkeypatch, said, short) -> None:  # type: ignore[no-untyped-def]
    pressure = tmp_path / "cpu"
    if said is not None:
        pressure.write_text(said)
    monkeypatch.setattr(processor, "PRESSURE", pressure)
    processor._short.cache_clear()
    assert processor.short() is short
    processor._short.cache_clear()
