"""Charts as SVG geometry, ready for a template. Colours are in static/base/charts.css. PURE.

Coordinates are strings: a template would localize a float, and 1.234,5 is no number in SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

STEPS = (1, 2, 2.5, 5, 10)  # an axis ends at one of these, times a power of ten


@dataclass(frozen=True)
class Canvas:
    """The size of a chart in SVG units, its margins for labels, and how many labels the time axis has (ticks)."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    ticks: int

    @property
    def base(self) -> int:
        """The y of the value 0."""
        return self.height - self.bottom

    @property
    def span(self) -> int:
        return self.width - self.left - self.right


WIDE = Canvas(640, 160, left=52, right=8, top=10, bottom=22, ticks=5)
# One unit for each pixel of a phone: the wide one scaled down to it would have labels too small to read.
NARROW = Canvas(300, 170, left=54, right=8, top=10, bottom=24, ticks=3)


@dataclass(frozen=True)
class AxisLabel:
    """at: its coordinate on the axis."""

    at: str
    label: str


@dataclass(frozen=True)
class Dot:
    """A value in the chart: its tooltip is `title`. width, height: of a bar; "" for a point on a line."""

    x: str
    y: str
    title: str
    width: str = ""
    height: str = ""


@dataclass(frozen=True)
class Chart:
    """label: for those who cannot see the picture. line, area: SVG paths. dots: the values.

    narrow: the same chart for small screens; None for that one itself.
    """

    label: str
    canvas: Canvas
    line: str
    area: str
    dots: Sequence[Dot]
    rows: Sequence[AxisLabel]
    columns: Sequence[AxisLabel]
    narrow: "Chart | None" = None

    @property
    def right(self) -> int:
        return self.canvas.width - self.canvas.right


def stepped(points: Sequence[tuple[datetime, float]], *, label: str, until: datetime | None = None) -> Chart:
    """A value that stays the same until it changes. points: oldest first, at least one. until: where the line ends."""
    last = points[-1]
    # The last value is still the value: the line goes on to the end of the axis.
    ends = [*points, (until, last[1])] if until and until > last[0] else list(points)
    narrow = _draw_steps(NARROW, ends, len(points), label)
    return replace(_draw_steps(WIDE, ends, len(points), label), narrow=narrow)


def bars(values: Sequence[tuple[str, float]], *, label: str) -> Chart:
    """One bar for each (name, value), in this order."""
    return replace(_draw_bars(WIDE, values, label), narrow=_draw_bars(NARROW, values, label))


def spark(values: Sequence[float], *, width: int = 96, height: int = 24) -> str:
    """A small line without axes, as an SVG path; "" for fewer than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1  # all values equal: a flat line instead of a division by zero
    step = (width - 2) / (len(values) - 1)
    places = [(1 + at * step, height - 2 - (value - low) / span * (height - 4)) for at, value in enumerate(values)]
    return "M" + "L".join(f"{_format(x)} {_format(y)}" for x, y in places)


def _draw_steps(on: Canvas, ends: Sequence[tuple[datetime, float]], known: int, label: str) -> Chart:
    begin, end = ends[0][0], ends[-1][0]
    most = _ceiling(max(value for _, value in ends))
    places = [(_x_of(on, at, begin, end), _y_of(on, value, most)) for at, value in ends]
    line = f"M{_format(places[0][0])} {_format(places[0][1])}" + "".join(
        f"H{_format(x)}V{_format(y)}" for x, y in places[1:]
    )
    area = f"{line}V{on.base}H{_format(places[0][0])}Z"
    dots = [
        Dot(_format(x), _format(y), f"{at:%d %b %Y, %H:%M %Z}: {value:,.0f}")
        for (at, value), (x, y) in zip(ends[:known], places, strict=False)
    ]
    span = end - begin
    # As precise as the labels have to be to differ from each other.
    form = "%H:%M:%S" if span < timedelta(minutes=10) else "%H:%M" if span < timedelta(days=2) else "%d %b"
    moments = [begin + span * part / (on.ticks - 1) for part in range(on.ticks)] if span else [begin]
    columns = [AxisLabel(_format(_x_of(on, at, begin, end)), at.strftime(form)) for at in moments]
    return Chart(label, on, line, area, dots, _value_axis(on, most), columns)


def _draw_bars(on: Canvas, values: Sequence[tuple[str, float]], label: str) -> Chart:
    most = _ceiling(max((value for _, value in values), default=0))
    room = on.span / max(len(values), 1)
    dots, columns = [], []
    # More labels than `ticks` would overlap: only every n-th bar has one.
    every = max(1, -(-len(values) // on.ticks))
    for index, (name, value) in enumerate(values):
        left, top = on.left + room * index, _y_of(on, value, most)
        # A bar fills three quarters of its room, so that two beside each other stay apart.
        size = (_format(room * 0.76), _format(on.base - top))
        dots.append(Dot(_format(left + room * 0.12), _format(top), f"{name}: {value:,.0f}", *size))
        if index % every == 0:
            columns.append(AxisLabel(_format(on.left + room * (index + 0.5)), name))
    return Chart(label, on, "", "", dots, _value_axis(on, most), columns)


def _x_of(on: Canvas, at: datetime, begin: datetime, end: datetime) -> float:
    span = (end - begin) / timedelta(seconds=1) or 1
    return on.left + (at - begin) / timedelta(seconds=1) / span * on.span


def _y_of(on: Canvas, value: float, most: float) -> float:
    return on.base - value / most * (on.base - on.top)


def _ceiling(most: float) -> float:
    """The smallest round number that is not below `most`: the end of the axis."""
    if most <= 0:
        return 1  # an axis needs a length, also when all values are 0
    size = 1.0
    while size * 10 <= most:
        size *= 10
    return next(step * size for step in STEPS if step * size >= most)


def _value_axis(on: Canvas, most: float) -> list[AxisLabel]:
    return [
        AxisLabel(_format(_y_of(on, value, most)), _abbreviate(value))
        for value in ([0, most / 2, most] if most > 1 else [0, most])
    ]


def _abbreviate(value: float) -> str:
    """A number as a label of the value axis, where there is room for about eight characters."""
    for size, unit in ((1e9, " bn"), (1e6, " m")):
        if value >= size:
            return f"{value / size:,.10g}{unit}"
    return f"{value:,.10g}"


def _format(value: float) -> str:
    # A tenth of a unit is finer than any pixel; more digits only make the page longer.
    return f"{value:.1f}".rstrip("0").rstrip(".")
