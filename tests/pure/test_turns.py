"""Whose turn it is: nobody is served twice while somebody waits who was not."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as some

from personas_site import turns as module
from personas_site.turns import Turns

BUSY, CALM = 1, 2
WAITING = some.dictionaries(some.integers(0, 30), some.integers(0, 5), max_size=12)


def serve(turns: Turns[int], waiting: dict[int, int]) -> int:
    job = turns.take(waiting)
    assert job is not None
    turns.done(job)
    return job


def test_a_thousand_spaces_of_one_workspace_are_one_turn_to_another() -> None:
    turns: Turns[int] = Turns()
    flood = dict.fromkeys(range(1000), BUSY)
    for _ in range(50):
        serve(turns, flood)
    waiting = flood | {5000: CALM}
    served = [serve(turns, waiting) for _ in range(6)]
    assert served[0] == 5000
    assert [waiting[job] for job in served] == [CALM, BUSY] * 3
    assert len({job for job in served if job != 5000}) == 3  # and each of its own spaces has its turn


@given(some.lists(WAITING, min_size=1, max_size=60))
def test_no_workspace_is_served_twice_while_another_waits(rounds: list[dict[int, int]]) -> None:
    turns: Turns[int] = Turns()
    since: dict[int, Counter[int]] = {}  # of each workspace that waits: how often others were served since it came
    for waiting in rounds:
        present = set(waiting.values())
        since = {workspace: since.get(workspace, Counter()) for workspace in present}
        if not waiting:
            assert turns.take(waiting) is None
            continue
        served = waiting[serve(turns, waiting)]
        since.pop(served)
        for others in since.values():
            others[served] += 1
            assert max(others.values()) == 1 or len(others) == 0


@given(some.lists(WAITING, min_size=1, max_size=60))
def test_within_a_workspace_nobody_is_served_twice_while_another_waits(rounds: list[dict[int, int]]) -> None:
    turns: Turns[int] = Turns()
    since: dict[int, Counter[int]] = {}
    for jobs in rounds:
        waiting = dict.fromkeys(jobs, BUSY)
        since = {job: since.get(job, Counter()) for job in waiting}
        if not waiting:
            continue
        served = serve(turns, waiting)
        since.pop(served)
        for others in since.values():
            others[served] += 1
            assert max(others.values()) == 1


def test_what_runs_is_not_taken_again_and_one_workspace_leaves_room_for_others() -> None:
    turns: Turns[int] = Turns(most=2)
    waiting = {1: BUSY, 2: BUSY, 3: BUSY, 9: CALM}
    taken = [turns.take(waiting) for _ in range(5)]
    assert taken == [1, 9, 2, None, None]
    turns.done(1)
    assert turns.free(waiting) == [1, 3]
    assert turns.take(waiting) == 3


def test_turns_are_shared_while_another_workspace_has_some_of_the_last() -> None:
    turns: Turns[int] = Turns()
    assert serve(turns, {1: BUSY}) == 1
    assert not turns.shared(BUSY)
    assert serve(turns, {9: CALM}) == 9
    for _ in range(module.LAST_TURNS):
        assert turns.shared(BUSY)
        serve(turns, {1: BUSY})
    assert not turns.shared(BUSY)
    assert turns.shared(CALM)


def test_with_a_lane_more_one_more_workspace_has_turns_before_they_are_shared() -> None:
    turns: Turns[int] = Turns()
    for job, shared in ((1, False), (9, False), (5, True)):
        serve(turns, {job: job})
        assert turns.shared(job, lanes=2) is shared
    assert turns.shared(1)


def test_what_was_served_longest_ago_is_forgotten_first() -> None:
    turns: Turns[int] = Turns()
    many = {job: job for job in range(module.MOST_KNOWN + 2)}
    for job, workspace in many.items():
        serve(turns, {job: workspace})
    newest = module.MOST_KNOWN + 1
    assert serve(turns, {newest: newest, 0: 0, 5: 5}) in (0, 5)
    assert len(turns._jobs) <= module.MOST_KNOWN
