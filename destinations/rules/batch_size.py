"""PURE. How many people a batch of calls is about: as many as a second of calls can tell of."""

SMALLEST, LARGEST = 500, 4_000
# What a batch costs besides its calls is nearly the same for any size. But if it took longer than this, others would
# wait for their turn, and a process that is killed would leave more behind that has to be said again.
AIMED_S = 1.0


def next_size(size: int, *, settled: int, of: int, seconds: float) -> int:
    """What the batch after one of at most `size` takes at most.

    settled: changes that were taken or refused, of so many, in so many seconds of calls.
    """
    if settled < of:  # something is wrong over there: a few show whether it is over
        return SMALLEST
    if of < size and seconds < AIMED_S:  # not full: it says nothing about a larger one
        return size
    # Twice as many at most: the next ones may be slower.
    return max(SMALLEST, min(LARGEST, 2 * size, int(of * AIMED_S / max(seconds, 0.001))))
