"""Lists on pages: a page of rows, and where the next one is. Every position is in the address."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest

ROWS = 50


@dataclass(frozen=True)
class Pill:
    """A status: a word, and a tone that goes with it (good, busy, warn, bad, or none)."""

    label: str
    tone: str = ""


@dataclass(frozen=True)
class Pager:
    """Links to the first and the next page, where there are such; `shown` in words."""

    previous: str
    next: str
    shown: str


def listed(request: HttpRequest, rows: "QuerySet[Any]", *, order: str, count: int = ROWS) -> tuple[list[Any], Pager]:
    """The rows after `?after=` by `order`, a unique whole number (`-id` = newest first). One query, never a count."""
    column, side = order.removeprefix("-"), "lt" if order.startswith("-") else "gt"
    after = _number(request.GET.get("after", ""))
    rest = rows if after is None else rows.filter(**{f"{column}__{side}": after})
    found = list(rest.order_by(order)[: count + 1])
    more, found = len(found) > count, found[:count]
    following = _address(request, after=getattr(found[-1], column)) if more else ""
    first = _address(request, after=None) if after is not None else ""
    return found, Pager(first, following, f"{len(found)} shown{', there are more' if more else ''}")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _address(request: HttpRequest, after: int | None) -> str:
    kept = {name: value for name, value in request.GET.items() if name != "after" and value}
    return f"{request.path}?{urlencode(kept | ({'after': after} if after is not None else {}))}"
