"""PURE. How somebody's identifiers are found in text that no column tells apart, such as what a tool answered."""

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

import re2

AT_ONCE = 2_000  # texts in one pattern
SURE = 6  # characters: a shorter value is a part of too much else, and is looked for only between quotes


def needles(values: Iterable[str]) -> list[str]:
    """Each value as JSON writes it, with letters as they are and as ASCII alone; and as advertisers are told it."""
    found: dict[str, None] = {}
    for value in values:
        for ascii in (False, True):
            quoted = json.dumps(value, ensure_ascii=ascii)
            found[quoted if len(value) < SURE else quoted[1:-1]] = None
        found[sha256(value.encode(errors="replace")).hexdigest()] = None
    return list(found)


def finder(texts: Sequence[str]) -> Callable[[str], bool]:
    """A function that says whether any of these is in a text, in small or capital letters.

    By RE2, which reads a text once however many are looked for: thousands of LIKEs in PostgreSQL took minutes.
    """
    options = re2.Options()
    options.case_sensitive, options.log_errors, options.max_mem = False, False, 256 * 2**20
    patterns = [
        re2.compile("|".join(map(re2.escape, texts[start : start + AT_ONCE])), options)
        for start in range(0, len(texts), AT_ONCE)
    ]
    return lambda text: any(pattern.search(text) for pattern in patterns)
