"""PURE. What was taken out of a text and what was added, word by word or line by line."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

SAME, REMOVED, ADDED = "same", "removed", "added"


@dataclass(frozen=True)
class TextPart:
    """A part of one of two texts, or of both. kind: SAME, REMOVED or ADDED."""

    kind: str
    text: str

    @property
    def is_removed(self) -> bool:
        return self.kind == REMOVED

    @property
    def is_added(self) -> bool:
        return self.kind == ADDED


def by_words(before: str, after: str) -> list[TextPart]:
    """How one becomes the other, in the order of the text; nothing when they are the same."""
    return _parts(before.split(" "), after.split(" "), " ")


def by_lines(before: str, after: str) -> list[TextPart]:
    """The same, line by line."""
    return _parts(before.splitlines(), after.splitlines(), "\n")


def _parts(before: Sequence[str], after: Sequence[str], joint: str) -> list[TextPart]:
    if before == after:
        return []
    parts = []
    for _, start, end, new_start, new_end in SequenceMatcher(None, before, after).get_opcodes():
        removed, added = before[start:end], after[new_start:new_end]
        pieces = [(SAME, removed)] if removed == added else [(REMOVED, removed), (ADDED, added)]
        parts += [TextPart(kind, joint.join(words)) for kind, words in pieces if words]
    return parts
