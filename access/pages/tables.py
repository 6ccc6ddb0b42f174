"""Lists and tables on pages: paging, filtering, sorting and CSV. All of their state is in the query string."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse

from access.queries import page_after
from access.requests import PageRequest
from access.services import audit

ROWS = 50
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would take for a formula


@dataclass(frozen=True)
class Pill:
    """A status label. tone: good, busy, warn, bad, or "" for neutral."""

    label: str
    tone: str = ""


@dataclass(frozen=True)
class Pager:
    """Links to the previous and the next page, "" where there is none. shown: which rows these are, as text."""

    previous: str
    next: str
    shown: str
    # The labels of the two links. A list without a count can only go back to its beginning.
    back: str = "First page"
    on: str = "Next"


@dataclass(frozen=True)
class Column:
    """A column of a table. field: an ORM name or annotation to sort by; "" = it cannot be sorted."""

    key: str
    label: str
    field: str = ""
    num: bool = False


@dataclass(frozen=True)
class Heading:
    """The heading of a column. url: sorts by it. sorted: ascending, descending, or "" if by another column."""

    label: str
    num: bool
    url: str
    sorted: str


@dataclass(frozen=True)
class TablePage:
    """One page of a table.

    wanted: the text in the filter box. sort: as in the query string, such as `-size`. csv: the URL of all rows as CSV.
    """

    rows: Sequence[Any]
    headings: Sequence[Heading]
    pager: Pager
    wanted: str
    sort: str
    csv: str


def listed(request: HttpRequest, rows: "QuerySet[Any]", *, order: str, count: int = ROWS) -> tuple[list[Any], Pager]:
    """The page of `rows` that `?after=` asks for. One query, never a count: for lists of any length.

    order: a column of unique whole numbers, such as `-id` for newest first.
    """
    after = row_number(request.GET.get("after", ""))
    page, place = page_after(rows, order=order, after=after, count=count)
    following = "" if place is None else url_with(request, after=place)
    first = url_with(request) if after is not None else ""
    return page, Pager(first, following, f"{len(page)} shown{', there are more' if following else ''}")


def tabled(
    request: HttpRequest,
    rows: "QuerySet[Any]",
    *,
    columns: Sequence[Column],
    sort: str,
    search: Sequence[str] = (),
    count: int = ROWS,
) -> TablePage:
    """The page of `rows` that `?q=`, `?sort=` and `?page=` ask for. It counts: not for millions of rows.

    search: ORM names of the text columns that are filtered. sort: the default.
    """
    wanted, chosen = filtered_by(request), _sort(request, columns, sort)
    pages = Paginator(arranged(request, rows, columns=columns, sort=sort, search=search), count)
    page = pages.get_page(request.GET.get("page"))
    before = url_with(request, page=page.previous_page_number()) if page.has_previous() else ""
    after = url_with(request, page=page.next_page_number()) if page.has_next() else ""
    shown = f"{page.start_index():,}–{page.end_index():,} of {pages.count:,}"
    headings = []
    for column in columns:
        here, down = chosen.removeprefix("-") == column.key, chosen.startswith("-")
        # The first click sorts upwards, but numbers downwards: of these the largest are wanted. The next reverses it.
        descending = not down if here else column.num
        url = url_with(request, sort=f"-{column.key}" if descending else column.key) if column.field else ""
        headings.append(Heading(column.label, column.num, url, ("descending" if down else "ascending") if here else ""))
    return TablePage(
        rows=list(page),
        headings=headings,
        pager=Pager(before, after, shown, back="Previous"),
        wanted=wanted,
        sort=chosen,
        csv=url_with(request, format="csv"),
    )


def arranged(
    request: HttpRequest, rows: "QuerySet[Any]", *, columns: Sequence[Column], sort: str, search: Sequence[str] = ()
) -> "QuerySet[Any]":
    """All rows that match `?q=`, in the order of `?sort=`: the content of the CSV."""
    chosen, wanted = _sort(request, columns, sort), filtered_by(request)
    if wanted:
        rows = rows.filter(Q(*((f"{name}__icontains", wanted) for name in search), _connector=Q.OR))
    field = F(next(column.field for column in columns if column.key == chosen.removeprefix("-")))
    # Rows without a value come last either way; pk makes the order the same on every page.
    order = field.desc(nulls_last=True) if chosen.startswith("-") else field.asc(nulls_last=True)
    return rows.order_by(order, "pk")


def filtered_by(request: HttpRequest) -> str:
    return request.GET.get("q", "").strip()[:200]


def wants_csv(request: HttpRequest) -> bool:
    return request.GET.get("format") == "csv"


def csv_of(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download, streamed. Times are UTC."""
    write: Callable[[Sequence[Any]], str] = csv.writer(_Echo()).writerow

    def lines() -> Iterator[str]:
        yield write(header)
        for row in rows:
            cells = [value.isoformat() if hasattr(value, "isoformat") else value for value in row]
            # The apostrophe makes a spreadsheet show the text. Names come from event data: anybody can send a formula.
            yield write([f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells])

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def exported(
    request: PageRequest, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> StreamingHttpResponse:
    """`csv_of`, for somebody of a workspace: the audit trail says who took it out."""
    audit(request, "exported", request.workspace, page=request.path)
    return csv_of(name, header, rows)


class _Echo:
    """A file for csv.writer that returns each line: nothing is collected in memory."""

    def write(self, line: str) -> str:
        return line


def _sort(request: HttpRequest, columns: Sequence[Column], default: str) -> str:
    sort = request.GET.get("sort", "")
    # Only columns that are shown: sorting by any name of the ORM would tell, row by row, what no column shows.
    sortable = {column.key for column in columns if column.field}
    return sort if sort.removeprefix("-") in sortable and not sort.startswith("--") else default


def row_number(text: str) -> int | None:
    """The primary key in a query string or a form; None for anything that is none."""
    # isdigit() alone also accepts digits of other scripts; 19 of them would not fit into a bigint.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def url_with(request: HttpRequest, **position: Any) -> str:
    """This page with its filter and sorting, at this position; without one, at the beginning. "" takes one away."""
    kept = {name: value for name, value in request.GET.items() if name not in ("after", "page", "format")} | position
    return f"{request.path}?{urlencode({name: value for name, value in kept.items() if value})}"
