"""PURE. Charts as SVG geometry: places on a canvas, ready for a template. Colours are the stylesheet's.

Every number is text already, since a template would write 1234.5 as a reader of its language expects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Canvas:
    """What a chart is drawn on: its size, the room for the labels around it, and how many moments are named."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    ticks: int

    @property
    def base(self) -> int:
        return self.height - self.bottom

    @property
    def span(self) -> int:
        return self.width - self.left - self.right


WIDE = Canvas(640, 160, left=52, right=8, top=10, bottom=22, ticks=5)
# As many units as a phone has pixels for it: shrunk to that, the labels of the wide one could not be read.
NARROW = Canvas(300, 170, left=54, right=8, top=10, bottom=24, ticks=3)


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
    """label: what the picture shows, in words. line and area are paths; dots carry the values.

    narrow: the same for where there is little room; None for that one itself.
    """

    label: str
    canvas: Canvas
    line: str
    area: str
    dots: Sequence[Dot]
    rows: Sequence[Tick]
    columns: Sequence[Tick]
    narrow: "Chart | None" = None

    @property
    def right(self) -> int:
        return self.canvas.width - self.canvas.right


def stepped(points: Sequence[tuple[datetime, float]], *, label: str, until: datetime | None = None) -> Chart:
    """A value that stays until it changes, from the first point up to `until`. points: oldest first, at least one."""
    last = points[-1]
    ends = [*points, (until, last[1])] if until and until > last[0] else list(points)
    narrow = _stepped(NARROW, ends, len(points), label)
    return replace(_stepped(WIDE, ends, len(points), label), narrow=narrow)


def bars(values: Sequence[tuple[str, float]], *, label: str) -> Chart:
    """One bar for each (name, value), in this order."""
    return replace(_bars(WIDE, values, label), narrow=_bars(NARROW, values, label))


def spark(values: Sequence[float], *, width: int = 96, height: int = 24) -> str:
    """A small line without axes, as a path; "" for fewer than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1
    step = (width - 2) / (len(values) - 1)
    places = [(1 + at * step, height - 2 - (value - low) / span * (height - 4)) for at, value in enumerate(values)]
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)


def _stepped(on: Canvas, ends: Sequence[tuple[datetime, float]], known: int, label: str) -> Chart:
    begin, end = ends[0][0], ends[-1][0]
    most = _ceiling(max(value for _, value in ends))
    places = [(_across(on, at, begin, end), _up(on, value, most)) for at, value in ends]
    line = f"M{_n(places[0][0])} {_n(places[0][1])}" + "".join(f"H{_n(x)}V{_n(y)}" for x, y in places[1:])
    area = f"{line}V{on.base}H{_n(places[0][0])}Z"
    dots = [
        Dot(_n(x), _n(y), f"{at:%d %b %Y, %H:%M} UTC: {value:,.0f}")
        for (at, value), (x, y) in zip(ends[:known], places, strict=False)
    ]
    return Chart(label, on, line, area, dots, _rows(on, most), _columns(on, begin, end))


def _bars(on: Canvas, values: Sequence[tuple[str, float]], label: str) -> Chart:
    most = _ceiling(max((value for _, value in values), default=0))
    room = on.span / max(len(values), 1)
    dots = [_bar(on, at, room, name, value, most) for at, (name, value) in enumerate(values)]
    every = max(1, -(-len(values) // on.ticks))
    columns = [Tick(_n(on.left + room * (at + 0.5)), name) for at, (name, _) in enumerate(values) if at % every == 0]
    return Chart(label, on, "", "", dots, _rows(on, most), columns)


def _bar(on: Canvas, at: int, room: float, name: str, value: float, most: float) -> Dot:
    top = _up(on, value, most)
    title = f"{name}: {value:,.0f}"
    return Dot(_n(on.left + room * at + room * 0.12), _n(top), title, _n(room * 0.76), _n(on.base - top))


def _across(on: Canvas, at: datetime, begin: datetime, end: datetime) -> float:
    span = (end - begin) / timedelta(seconds=1) or 1
    return on.left + (at - begin) / timedelta(seconds=1) / span * on.span


def _up(on: Canvas, value: float, most: float) -> float:
    return on.base - value / most * (on.base - on.top)


def _ceiling(most: float) -> float:
    """A round number that nothing is above."""
    if most <= 0:
        return 1
    size = 1.0
    while size * 10 <= most:
        size *= 10
    return next(step * size for step in STEPS if step * size >= most)


def _rows(on: Canvas, most: float) -> list[Tick]:
    return [Tick(_n(_up(on, value, most)), _short(value)) for value in ([0, most / 2, most] if most > 1 else [0, most])]


def _columns(on: Canvas, begin: datetime, end: datetime) -> list[Tick]:
    span = end - begin
    form = "%H:%M:%S" if span < timedelta(minutes=10) else "%H:%M" if span < timedelta(days=2) else "%d %b"
    moments = [begin + span * part / (on.ticks - 1) for part in range(on.ticks)] if span else [begin]
    return [Tick(_n(_across(on, at, begin, end)), at.strftime(form)) for at in moments]


def _short(value: float) -> str:
    """As a label at the side, which has little room."""
    for size, unit in ((1e9, " bn"), (1e6, " m")):
        if value >= size:
            return f"{value / size:,.10g}{unit}"
    return f"{value:,.10g}"


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
