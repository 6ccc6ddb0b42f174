"""PURE. Folders: where an audience or a computed trait is kept, as a path such as `Campaigns/Summer`; one for each."""

from collections.abc import Iterable, Sequence

PARTED_BY = "/"
MOST_PARTS = 6
LONGEST_PART = 60  # characters
LONGEST_FOLDER = MOST_PARTS * (LONGEST_PART + 1)


class FolderRefused(ValueError):
    """A path that no folder can have. The message is for the user."""


def tidied_folder(path: str) -> str:
    """The path without blanks around its parts and without empty ones; "" = in no folder. Raises FolderRefused."""
    parts = list(filter(None, (" ".join(part.split()) for part in path.split(PARTED_BY))))
    if len(parts) > MOST_PARTS:
        raise FolderRefused(f"Folders are at most {MOST_PARTS} deep, and this is {len(parts)}.")
    for part in parts:
        if len(part) > LONGEST_PART:
            raise FolderRefused(f"A folder has at most {LONGEST_PART} characters: “{part[:LONGEST_PART]}…” has more.")
    return PARTED_BY.join(parts)


def above(path: str) -> list[str]:
    """The folder itself and those it is in, the outermost first."""
    parts = path.split(PARTED_BY) if path else []
    return [PARTED_BY.join(parts[: place + 1]) for place in range(len(parts))]


def directly_below(path: str, folders: Iterable[str]) -> Sequence[str]:
    """The folders that are in this one and in no other below it, in the order of the alphabet."""
    # Folders are nothing but paths of audiences: one that none is in is not there.
    depth = len(above(path))
    inside = {tuple(above(folder)) for folder in folders if path == "" or folder.startswith(f"{path}{PARTED_BY}")}
    return sorted({steps[depth] for steps in inside if len(steps) > depth}, key=lambda name: (name.casefold(), name))
