"""PURE. Charts as SVG geometry: places on a canvas, ready for a template. Colours are the stylesheet's.

Every number is text already, since a template would write 1234.5 as a reader of its language expects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH, HEIGHT = 640, 160
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22  # room for the labels
MOST_TICKS = 5
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    at: str
    label: str


@dataclass(frozen=True)
class Dot:
    """A place with a value, which its title says. width and height: of a bar."""

    x: str
    y: str
    title: str
    width: str = ""
    height: str = ""


@dataclass(frozen=True)
class Chart:
    """label: what the picture shows, in words. line and area are paths; dots carry the values."""

    label: str
    width: int
    height: int
    line: str
    area: str
    dots: Sequence[Dot]
    rows: Sequence[Tick]
    columns: Sequence[Tick]
    left: int = LEFT
    base: int = HEIGHT - BOTTOM
    right: int = WIDTH - RIGHT


def stepped(points: Sequence[tuple[datetime, float]], *, label: str, until: datetime | None = None) -> Chart:
    """A value that stays until it changes, from the first point up to `until`. points: oldest first, at least one."""
    last = points[-1]
    ends = [*points, (until, last[1])] if until and until > last[0] else list(points)
    begin, end = ends[0][0], ends[-1][0]
    most = _ceiling(max(value for _, value in points))
    places = [(_across(at, begin, end), _up(value, most)) for at, value in ends]
    line = f"M{_n(places[0][0])} {_n(places[0][1])}" + "".join(f"H{_n(x)}V{_n(y)}" for x, y in places[1:])
    area = f"{line}V{HEIGHT - BOTTOM}H{_n(places[0][0])}Z"
    dots = [
        Dot(_n(x), _n(y), f"{at:%d %b %Y, %H:%M} UTC: {value:,.0f}")
        for (at, value), (x, y) in zip(ends[: len(points)], places, strict=False)
    ]
    return Chart(label, WIDTH, HEIGHT, line, area, dots, _rows(most), _columns(begin, end))


def bars(values: Sequence[tuple[str, float]], *, label: str) -> Chart:
    """One bar for each (name, value), in this order."""
    most = _ceiling(max((value for _, value in values), default=0))
    room = (WIDTH - LEFT - RIGHT) / max(len(values), 1)
    dots = [_bar(at, room, name, value, most) for at, (name, value) in enumerate(values)]
    every = max(1, -(-len(values) // MOST_TICKS))
    columns = [Tick(_n(LEFT + room * (at + 0.5)), name) for at, (name, _) in enumerate(values) if at % every == 0]
    return Chart(label, WIDTH, HEIGHT, "", "", dots, _rows(most), columns)


def spark(values: Sequence[float], *, width: int = 96, height: int = 24) -> str:
    """A small line without axes, as a path; "" for fewer than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1
    step = (width - 2) / (len(values) - 1)
    places = [(1 + at * step, height - 2 - (value - low) / span * (height - 4)) for at, value in enumerate(values)]
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)


def _bar(at: int, room: float, name: str, value: float, most: float) -> Dot:
    top = _up(value, most)
    title = f"{name}: {value:,.0f}"
    return Dot(_n(LEFT + room * at + room * 0.12), _n(top), title, _n(room * 0.76), _n(HEIGHT - BOTTOM - top))


def _across(at: datetime, begin: datetime, end: datetime) -> float:
    span = (end - begin) / timedelta(seconds=1) or 1
    return LEFT + (at - begin) / timedelta(seconds=1) / span * (WIDTH - LEFT - RIGHT)


def _up(value: float, most: float) -> float:
    return HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - TOP)


def _ceiling(most: float) -> float:
    """A round number that nothing is above."""
    if most <= 0:
        return 1
    size = 1.0
    while size * 10 <= most:
        size *= 10
    return next(step * size for step in STEPS if step * size >= most)


def _rows(most: float) -> list[Tick]:
    return [Tick(_n(_up(value, most)), f"{value:,.10g}") for value in ([0, most / 2, most] if most > 1 else [0, most])]


def _columns(begin: datetime, end: datetime) -> list[Tick]:
    span = end - begin
    form = "%H:%M:%S" if span < timedelta(minutes=10) else "%H:%M" if span < timedelta(days=2) else "%d %b"
    moments = [begin + span * part / (MOST_TICKS - 1) for part in range(MOST_TICKS)] if span else [begin]
    return [Tick(_n(_across(at, begin, end)), at.strftime(form)) for at in moments]


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
