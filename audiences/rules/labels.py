"""PURE. Labels: short texts by which people find their audiences and computed traits again."""

from collections.abc import Iterable

MOST_LABELS = 20  # of one audience
LONGEST_LABEL = 40  # characters
PARTED_BY = ","  # in forms; so no label has one


class LabelRefused(ValueError):
    """A label that nothing can have. The message is for the user."""


def tidied(labels: Iterable[str]) -> list[str]:
    """Each once, without blanks around it, in the order in which they were given. Raises LabelRefused."""
    # Blanks are made one, since a label is told from another by how it looks.
    tidy = list(dict.fromkeys(filter(None, (" ".join(label.split()) for label in labels))))
    for label in tidy:
        if PARTED_BY in label:
            raise LabelRefused(f"A label has no comma: “{label}”.")
        if len(label) > LONGEST_LABEL:
            raise LabelRefused(f"A label has at most {LONGEST_LABEL} characters: “{label[:LONGEST_LABEL]}…” has more.")
    if len(tidy) > MOST_LABELS:
        raise LabelRefused(f"There may be {MOST_LABELS} labels, and these are {len(tidy)}.")
    return tidy


def one_label(text: str) -> str:
    """The label that somebody wrote. Raises LabelRefused when it is none."""
    labels = tidied([text])
    if not labels:
        raise LabelRefused("Write the label that is to be added.")
    return labels[0]


def parted(text: str) -> list[str]:
    """The labels that somebody wrote into one box. Raises LabelRefused."""
    return tidied(text.split(PARTED_BY))
