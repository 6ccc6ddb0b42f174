"""What to say next: the set algebra of desired and acknowledged, and that it always ends in step."""

from hypothesis import given
from hypothesis import strategies as st

from destinations.rules.comparison import IN, MAYBE, OUT, KnownState, NextCall, next_call, state_after

known_rows = st.none() | st.builds(
    KnownState,
    state=st.sampled_from([OUT, IN, MAYBE]),
    entering=st.booleans(),
    flip=st.integers(1, 9),
    due=st.booleans(),
)
tables = st.dictionaries(st.integers(0, 20), known_rows)
sets = st.sets(st.integers(0, 20))


@given(tables, sets)
def test_the_calls_are_what_is_desired_and_not_in_and_what_is_not_desired_and_not_out(
    table: dict[int, KnownState | None], desired: set[int]
) -> None:
    rows = {number: table.get(number) for number in range(21)}
    calls = {n: call for n, row in rows.items() if (call := next_call(row, n in desired, due_now=True))}
    inside = {n for n, row in rows.items() if row and row.state == IN}
    outside = {n for n, row in rows.items() if row is None or row.state == OUT}
    assert {n for n, call in calls.items() if call.entering} == desired - inside
    assert {n for n, call in calls.items() if not call.entering} == set(rows) - desired - outside


@given(known_rows, st.booleans())
def test_a_flip_number_grows_exactly_when_the_direction_changes(known: KnownState | None, desired: bool) -> None:
    call = next_call(known, desired, due_now=True)
    if call and known:
        assert call.flip == known.flip + (call.entering != known.entering)
    elif call:
        assert call == NextCall(True, 1, again=False)


@given(known_rows)
def test_while_nothing_can_be_said_nothing_new_is_begun(known: KnownState | None) -> None:
    assert next_call(known, None, due_now=False) is None
    call = next_call(known, None, due_now=True)
    assert call is None or (known is not None and (call.entering, call.flip) == (known.entering, known.flip))


steps = st.lists(
    st.tuples(
        st.sampled_from([None, 1, 2]),  # desired; of an audience there is only one value
        st.booleans(),  # a retry is due
        st.sampled_from(["delivered", "lost answer", "lost call", "unsent", "refused"]),
    ),
    max_size=30,
)


@given(steps)
def test_whatever_gets_lost_a_receiver_ends_in_step(history: list[tuple[int | None, bool, str]]) -> None:
    """The receiver keeps calls once by id, and the newest flip counts."""
    known: KnownState | None = None
    said: int | None = None
    received: dict[int, int | None] = {}

    def say(desired: int | None, due_now: bool, fate: str) -> None:
        nonlocal known, said
        call = next_call(known, desired is not None, due_now=due_now, outdated=said != desired)
        if call is None:
            return
        was = known.state if known else OUT
        if call.entering and was == IN:  # as destinations.calls: what it holds is not what this call says
            was = MAYBE
        said = said if call.again else desired
        assert received.get(call.flip, said) == said  # one id never says two things
        if fate in {"delivered", "lost answer"}:
            received[call.flip] = said
        kind = {"delivered": "delivered", "refused": "refused", "unsent": "unsent"}.get(fate, "retry")
        touched = fate in {"delivered", "lost answer", "lost call"}
        state = state_after(entering=call.entering, was=was, kind=kind, touched=touched)
        known = KnownState(state, call.entering, call.flip, due=kind not in {"delivered", "refused"})

    for desired, due_now, fate in history:
        say(desired, due_now, fate)
    last = history[-1][0] if history else None
    say(last, True, "delivered")
    say(last, True, "delivered")  # the first may have repeated what was begun
    assert received.get(max(received, default=0)) == last
    assert next_call(known, last is not None, due_now=True, outdated=said != last) is None
