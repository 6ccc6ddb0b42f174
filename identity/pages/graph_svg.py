"""PURE. The identity graph of one profile as SVG geometry: places on a canvas, ready for a template.

    a column for each type of identifier, its identifiers below one another
    the profile in the middle
    the profiles that became part of it

Every number is text already, since a template would write 1234.5 as a reader of its language expects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

MOST_TYPES, MOST_OF_A_TYPE, MOST_MERGES = 6, 8, 12  # 60 nodes at most: what can be taken in at a glance
MERGES_IN_A_ROW = 3
EDGE, COLUMN, GAP = 12, 190, 16  # margin of the canvas, width of a column, room between two
HEAD, BOX, ROW = 24, 40, 48  # a column's title, a node, a node with the room below it
SPINE, INDENT = 8, 22  # where the line of a column runs, and where its nodes begin
BRANCH = 44  # from a row of columns to the profile
PROFILE_WIDTH, PROFILE_HEIGHT = 230, 48
LETTERS, NAME_LETTERS = 21, 26  # that a node takes


@dataclass(frozen=True)
class Fact:
    """What a node stands for. group: the title of its column. summary: all of it, in words. href: its row."""

    group: str
    label: str
    note: str
    summary: str
    href: str


@dataclass(frozen=True)
class Box:
    """A node. Its text is cut to its width; `summary` is whole."""

    x: str
    y: str
    width: str
    height: str
    text_x: str
    label_y: str
    note_y: str
    label: str
    note: str
    summary: str
    href: str


@dataclass(frozen=True)
class Title:
    x: str
    y: str
    text: str


@dataclass(frozen=True)
class Picture:
    """left_out: facts that the picture has no room for. lines: paths."""

    width: str
    height: str
    profile: Box
    boxes: Sequence[Box]
    titles: Sequence[Title]
    lines: Sequence[str]
    left_out: int


@dataclass(frozen=True)
class _Column:
    title: str
    facts: Sequence[Fact]


def picture(name: str, about: str, identifiers: Sequence[Fact], merges: Sequence[Fact]) -> Picture:
    """The same facts make the same picture. identifiers: those of one group beside one another, in their order."""
    above, shown = _by_type(identifiers), merges[:MOST_MERGES]
    below = [_Column("", shown[at::MERGES_IN_A_ROW]) for at in range(min(len(shown), MERGES_IN_A_ROW))]
    width = max(_width(len(above)), _width(len(below)), PROFILE_WIDTH + 2 * EDGE)
    tallest = max((len(column.facts) for column in above), default=0)
    middle = EDGE + (HEAD + tallest * ROW - (ROW - BOX) + BRANCH if above else 0)
    rows = max((len(column.facts) for column in below), default=0)
    under = middle + PROFILE_HEIGHT + BRANCH
    height = (under + HEAD + rows * ROW - (ROW - BOX) if below else middle + PROFILE_HEIGHT) + EDGE
    boxes: list[Box] = []
    titles: list[Title] = []
    lines: list[str] = []
    center = width / 2
    for x, column in _placed(above, width):
        top = EDGE + (tallest - len(column.facts)) * ROW  # the columns stand on the same ground
        titles.append(Title(_n(x + INDENT), _n(top + 14), column.title))
        boxes += _boxes(x, top + HEAD, column.facts)
        lines += _ticks(x, top + HEAD, len(column.facts))
        lines.append(_stem(x + SPINE, top + HEAD + BOX / 2, middle - BRANCH / 2, center, middle))
    for at, (x, column) in enumerate(_placed(below, width)):
        if at == 0:
            titles.append(Title(_n(x + INDENT), _n(under + 14), "became part of it"))
        boxes += _boxes(x, under + HEAD, column.facts)
        lines += _ticks(x, under + HEAD, len(column.facts))
        bottom = under + HEAD + (len(column.facts) - 1) * ROW + BOX / 2
        lines.append(_stem(x + SPINE, bottom, under - BRANCH / 2, center, middle + PROFILE_HEIGHT))
    profile = _box(center - PROFILE_WIDTH / 2, middle, PROFILE_WIDTH, PROFILE_HEIGHT, Fact("", name, about, name, ""))
    left_out = len(identifiers) + len(merges) - len(boxes)
    return Picture(_n(width), _n(height), profile, boxes, titles, lines, left_out)


def _by_type(identifiers: Sequence[Fact]) -> list[_Column]:
    columns = []
    for group, of_type in groupby(identifiers, key=lambda fact: fact.group):
        facts = list(of_type)
        more = len(facts) - MOST_OF_A_TYPE
        title = f"{_cut(group, 16)} · {more} more" if more > 0 else _cut(group, 24)
        columns.append(_Column(title, facts[:MOST_OF_A_TYPE]))
    return columns[:MOST_TYPES]


def _width(columns: int) -> float:
    return 2 * EDGE + columns * COLUMN + max(columns - 1, 0) * GAP


def _placed(columns: Sequence[_Column], width: float) -> list[tuple[float, _Column]]:
    """Each with where it begins; all of them in the middle of the canvas."""
    start = (width - _width(len(columns))) / 2 + EDGE
    return [(start + at * (COLUMN + GAP), column) for at, column in enumerate(columns)]


def _boxes(x: float, top: float, facts: Sequence[Fact]) -> list[Box]:
    return [_box(x + INDENT, top + at * ROW, COLUMN - INDENT, BOX, fact) for at, fact in enumerate(facts)]


def _box(x: float, y: float, width: float, height: float, fact: Fact) -> Box:
    letters = LETTERS if fact.href else NAME_LETTERS
    label, note = _cut(fact.label, letters), _cut(fact.note, letters + 6)
    middle = y + height / 2
    places = _n(x), _n(y), _n(width), _n(height), _n(x + 10), _n(middle - 3), _n(middle + 13)
    return Box(*places, label, note, fact.summary, fact.href)


def _ticks(x: float, top: float, count: int) -> list[str]:
    """From the line of a column to each of its nodes."""
    return [f"M{_n(x + SPINE)} {_n(top + at * ROW + BOX / 2)}H{_n(x + INDENT)}" for at in range(count)]


def _stem(x: float, far: float, bend: float, center: float, near: float) -> str:
    """Along a column, then across to the profile."""
    return f"M{_n(x)} {_n(far)}V{_n(bend)}H{_n(center)}V{_n(near)}"


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
