"""PURE. How the values of a computed trait are spread: in numbers, or by the values that most have."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST = 10  # bars


@dataclass(frozen=True)
class Bar:
    label: str
    count: int
    share: int  # per cent of the longest one


@dataclass(frozen=True)
class Distribution:
    """numbers: (smallest, median, average, largest); None where not all values are numbers."""

    count: int
    numbers: tuple[float, float, float, float] | None
    bars: Sequence[Bar]


def distribution(read: Sequence[Any]) -> Distribution:
    """read: the values, as JSON has them."""
    numbers = sorted(value for value in read if isinstance(value, int | float) and not isinstance(value, bool))
    if read and len(numbers) == len(read):
        summary = (numbers[0], numbers[len(numbers) // 2], sum(numbers) / len(numbers), numbers[-1])
        tallies = _ranges(numbers) if len(set(numbers)) > MOST else sorted(Counter(numbers).items())
        return Distribution(
            len(read),
            summary,
            _bars([(f"{label:,}" if not isinstance(label, str) else label, n) for label, n in tallies]),
        )
    often = Counter(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in read)
    return Distribution(len(read), None, _bars(often.most_common(MOST)))


def _ranges(numbers: Sequence[float]) -> list[tuple[str, int]]:
    """Parts of the same width, from the smallest number to the largest."""
    first, width = numbers[0], (numbers[-1] - numbers[0]) / MOST
    # The largest number would be the first of a part behind the last one.
    places = Counter(min(int((number - first) / width), MOST - 1) for number in numbers)
    return [
        (f"{first + place * width:,.4g} – {first + (place + 1) * width:,.4g}", places[place]) for place in range(MOST)
    ]


def _bars(tallies: Sequence[tuple[str, int]]) -> list[Bar]:
    most = max((count for _, count in tallies), default=1)
    return [
        Bar(label if len(label) <= 60 else f"{label[:60]}…", count, round(100 * count / most))
        for label, count in tallies
    ]
