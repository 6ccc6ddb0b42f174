"""Lists on pages: a page of rows, and where the next one is. Every position is in the address."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse

ROWS = 50
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would take for a formula


@dataclass(frozen=True)
class Pill:
    """A status: a word, and a tone that goes with it (good, busy, warn, bad, or none)."""

    label: str
    tone: str = ""


@dataclass(frozen=True)
class Pager:
    """Links to the pages before and after this one, where there are such; `shown` in words."""

    previous: str
    next: str
    shown: str
    back: str = "First page"  # what `previous` leads to …
    on: str = "Next"  # … and what `next` does


@dataclass(frozen=True)
class Column:
    """A column of a table. field: what it can be sorted by, an ORM name or an annotation; "" = it cannot."""

    key: str
    label: str
    field: str = ""
    num: bool = False


@dataclass(frozen=True)
class Heading:
    """A column's heading: where a click leads, and how the rows are sorted by it (ascending, descending, "")."""

    label: str
    num: bool
    url: str
    sorted: str


@dataclass(frozen=True)
class Table:
    """One page of a table that can be filtered, sorted, leafed through and downloaded; all of it in the address.

    wanted: the text in the filter box. sort: as in the address, such as `-size`. csv: where the whole of it is.
    """

    rows: Sequence[Any]
    headings: Sequence[Heading]
    pager: Pager
    wanted: str
    sort: str
    csv: str


def listed(request: HttpRequest, rows: "QuerySet[Any]", *, order: str, count: int = ROWS) -> tuple[list[Any], Pager]:
    """The rows after `?after=` by `order`, a unique whole number (`-id` = newest first). One query, never a count."""
    column, side = order.removeprefix("-"), "lt" if order.startswith("-") else "gt"
    after = row_number(request.GET.get("after", ""))
    rest = rows if after is None else rows.filter(**{f"{column}__{side}": after})
    found = list(rest.order_by(order)[: count + 1])
    more, found = len(found) > count, found[:count]
    following = _address(request, after=getattr(found[-1], column)) if more else ""
    first = _address(request) if after is not None else ""
    return found, Pager(first, following, f"{len(found)} shown{', there are more' if more else ''}")


def tabled(
    request: HttpRequest,
    rows: "QuerySet[Any]",
    *,
    columns: Sequence[Column],
    sort: str,
    search: Sequence[str] = (),
    count: int = ROWS,
) -> Table:
    """The page of `rows` that `?q=`, `?sort=` and `?page=` ask for. For tables of thousands, not of millions.

    search: ORM names of the texts in which the filter looks. sort: what counts when the address names none.
    """
    wanted, chosen = filtered_by(request), _sort(request, columns, sort)
    pages = Paginator(arranged(request, rows, columns=columns, sort=sort, search=search), count)
    page = pages.get_page(request.GET.get("page"))
    before = _address(request, page=page.previous_page_number()) if page.has_previous() else ""
    after = _address(request, page=page.next_page_number()) if page.has_next() else ""
    shown = f"{page.start_index():,}–{page.end_index():,} of {pages.count:,}"
    return Table(
        rows=list(page),
        headings=[_heading(request, column, chosen) for column in columns],
        pager=Pager(before, after, shown, back="Previous"),
        wanted=wanted,
        sort=chosen,
        csv=_address(request, format="csv"),
    )


def arranged(
    request: HttpRequest, rows: "QuerySet[Any]", *, columns: Sequence[Column], sort: str, search: Sequence[str] = ()
) -> "QuerySet[Any]":
    """All the rows that the filter leaves, in the order asked for: what a CSV holds."""
    chosen, wanted = _sort(request, columns, sort), filtered_by(request)
    if wanted:
        rows = rows.filter(Q(*((f"{name}__icontains", wanted) for name in search), _connector=Q.OR))
    field = F(next(column.field for column in columns if column.key == chosen.removeprefix("-")))
    order = field.desc(nulls_last=True) if chosen.startswith("-") else field.asc(nulls_last=True)
    return rows.order_by(order, "pk")


def filtered_by(request: HttpRequest) -> str:
    return request.GET.get("q", "").strip()[:200]


def wants_csv(request: HttpRequest) -> bool:
    return request.GET.get("format") == "csv"


def csv_of(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download, written as it is read. Text that a spreadsheet would run is made text again; times are UTC."""
    response = StreamingHttpResponse(_lines(header, rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line


def _lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    write: Callable[[Sequence[Any]], Any] = csv.writer(_Echo()).writerow
    yield write(header)
    for row in rows:
        yield write([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    text = value.isoformat() if hasattr(value, "isoformat") else value
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text


def _sort(request: HttpRequest, columns: Sequence[Column], default: str) -> str:
    asked = request.GET.get("sort", "")
    known = {column.key for column in columns if column.field}
    return asked if asked.removeprefix("-") in known and not asked.startswith("--") else default


def _heading(request: HttpRequest, column: Column, chosen: str) -> Heading:
    """The first click sorts upwards, numbers downwards; the next one turns it round."""
    if not column.field:
        return Heading(column.label, column.num, "", "")
    here, down = chosen.removeprefix("-") == column.key, chosen.startswith("-")
    turned = not down if here else column.num
    url = _address(request, sort=f"-{column.key}" if turned else column.key)
    return Heading(column.label, column.num, url, ("descending" if down else "ascending") if here else "")


def row_number(text: str) -> int | None:
    """What an address or a form names a row by; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _address(request: HttpRequest, **places: Any) -> str:
    """This page with these places in the list, and from its beginning where none is named."""
    kept = {name: value for name, value in request.GET.items() if name not in ("after", "page", "format") and value}
    return f"{request.path}?{urlencode(kept | places)}"
