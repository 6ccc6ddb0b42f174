"""PURE. Text that every store takes: PostgreSQL refuses NUL, and nothing encodes half of a surrogate pair."""

import re

from anyascii import anyascii

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    # Nearly all text is ASCII, and to ask that costs next to nothing.
    return "\0" not in text if text.isascii() else not _UNSTORABLE.search(text)


def storable(text: str) -> str:
    """The same text with U+FFFD for each character that a store refuses. Two halves side by side become their pair."""
    if is_storable(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", REPLACEMENT)


def latin(text: str) -> str:
    """The same in Latin letters, whatever script it is in: what keys and addresses are made of."""
    return anyascii(text)


def text_of(error: BaseException, longest: int) -> str:
    """An error's message as it is kept, at most so many characters: errors quote what they are about."""
    return storable(str(error)[:longest])
