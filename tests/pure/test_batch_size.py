"""How many people the next batch of calls is about, by how the last one went."""

import pytest

from destinations.rules.batch_size import LARGEST, SMALLEST, next_size


@pytest.mark.parametrize(
    ("size", "settled", "of", "seconds", "expected"),
    [
        (500, 500, 500, 0.05, 1000),  # quick: twice as many
        (1000, 1000, 1000, 0.0, 2000),
        (500, 1000, 1000, 0.05, 1000),  # people with two identifiers each
        (4000, 4000, 4000, 0.3, LARGEST),
        (500, 500, 500, 0.8, 625),  # as many as a second can tell of
        (4000, 4000, 4000, 2.0, 2000),
        (1000, 1000, 1000, 20.0, SMALLEST),
        (2000, 30, 30, 0.1, 2000),  # not full
        (2000, 30, 30, 5.0, SMALLEST),  # not full, and slow
        (4000, 3999, 4000, 0.1, SMALLEST),  # somebody was not answered
        (4000, 0, 4000, 0.1, SMALLEST),
        (2000, 0, 0, 0.0, 2000),  # nothing was to be said
    ],
)
def test_a_batch_grows_while_its_destination_is_quick(
    size: int, settled: int, of: int, seconds: float, expected: int
) -> None:
    assert next_size(size, settled=settled, of=of, seconds=seconds) == expected
