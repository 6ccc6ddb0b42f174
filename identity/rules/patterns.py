"""PURE. Patterns of blocked values: RE2, whose time grows with the length of a value alone, whoever wrote the pattern.

Every space's patterns run in the same workers. Python's own matcher backtracks: twenty of `.*?.*?b` need hours.
"""

from collections.abc import Callable
from functools import lru_cache

import re2

LONGEST = 200  # characters
ANYWHERE, NOWHERE = re2._Anchor.UNANCHORED, re2._NULL_SPAN
# Steps per character of a value, at worst, of all patterns of a space together: about 5 ms for an event full of ids.
MOST_STEPS = 5_000


class PatternError(ValueError):
    """Not a pattern that RE2 reads; the message says why."""


@lru_cache(maxsize=10_000)
def search(pattern: str, *, any_case: bool = False) -> Callable[[str], bool]:
    """A function that says whether the pattern is found anywhere in a value. Raises PatternError.

    What the library's own `search` does beside matching, such as to count letters, takes ten times as long.
    """
    match = _compiled(pattern, any_case=any_case)._regexp.Match

    def found(value: str) -> bool:
        encoded = value.encode()
        return bool(match(ANYWHERE, encoded, 0, len(encoded))[0] != NOWHERE)

    return found


def steps(pattern: str) -> int:
    """How many steps the pattern may need for each character of a value. Raises PatternError."""
    size: int = _compiled(pattern)._regexp.ProgramSize()
    return size


@lru_cache(maxsize=10_000)
def _compiled(pattern: str, *, any_case: bool = False) -> "re2._Regexp":
    if len(pattern) > LONGEST:
        raise PatternError(f"longer than {LONGEST} characters")
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not any_case
    try:
        return re2.compile(pattern.replace(r"\Z", r"\z"), options)  # Python's spelling of the end: it was taken before
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
