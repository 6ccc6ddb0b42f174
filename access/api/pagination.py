"""Lists in pages: `{"data": {name: […], "pagination": {…}}}`, by `pagination[count]` and `pagination[cursor]`.

The shape is that of Segment's Public API (spec/ecosystem.md §5.3).
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from drf_spectacular.plumbing import build_parameter_type
from drf_spectacular.utils import OpenApiParameter
from rest_framework.generics import GenericAPIView
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from access.errors import invalid
from access.queries import page_after

COUNT, MOST = 20, 1000  # rows per page: when not asked for, and at most
FURTHEST = 2**31  # no list is so long
PAGINATION = {
    "type": "object",
    "required": ["current", "totalEntries"],
    "properties": {
        "current": {"type": "string", "description": "The cursor of this page."},
        "next": {"type": "string", "description": "The cursor of the next page; missing on the last one."},
        "totalEntries": {"type": "integer", "description": "How many rows the whole list has."},
    },
    "examples": [{"current": "bnVsbA==", "next": "MjA=", "totalEntries": 31}],
}


@dataclass(frozen=True)
class Keyed:
    """Rows that are no queryset: `read(after, count)` gives those behind a key, in order; None = from the start.

    key: of a row, never twice. `read` raises ValueError for a text that is no key.
    """

    read: Callable[[str | None, int], Sequence[Any]]
    key: Callable[[Any], str]
    total: int


class Pages(BasePagination):
    """A queryset is paged by the value of a unique column: nothing is shown twice or left out when rows come or go
    meanwhile. `Keyed` rows likewise; any other sequence is paged by position."""

    name: ClassVar[str]
    order: ClassVar[str] = "id"  # the column; `-id` = newest first
    most: ClassVar[int] = MOST
    beside: ClassVar[dict[str, Any]] = {}  # what else is in `data`, name -> JSON Schema
    cursor: int | str | None  # the last value of the page before; None = from the start

    @classmethod
    def of(cls, name: str, **more: Any) -> "type[Pages]":
        """For the `pagination_class` of a view. more: order, most, beside."""
        return cast("type[Pages]", type(f"{cls.__name__}Of{name.capitalize()}", (cls,), {"name": name, **more}))

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        # `limit`, as Segment's Profile API calls it, is another word for it.
        name = "limit" if "limit" in request.query_params else "pagination[count]"
        asked = request.query_params.get(name, str(min(COUNT, self.most)))
        if not asked.isascii() or not asked.isdigit() or len(asked) > 6 or not 1 <= int(asked) <= self.most:
            raise invalid(f"Must be a number from 1 to {self.most}.", name)
        count, self.cursor = int(asked), None
        self.after: int | str | None
        if text := request.query_params.get("pagination[cursor]"):
            try:
                self.cursor = json.loads(base64.urlsafe_b64decode(text.encode()))
            except ValueError as error:
                raise _no_cursor() from error
            # To Python, true is the number 1.
            if isinstance(self.cursor, bool) or not isinstance(self.cursor, int | str | None):
                raise _no_cursor()
        if isinstance(queryset, QuerySet):
            self.total = queryset.count()
            try:
                rows, self.after = page_after(queryset, order=self.order, after=self.cursor, count=count)
            except (ValueError, TypeError) as error:  # a cursor of another list: no value of this column
                raise _no_cursor() from error
            return rows
        if isinstance(queryset, Keyed):
            return self._keyed_rows(queryset, count)
        start = 0 if self.cursor is None else self.cursor
        if not isinstance(start, int) or not 0 <= start < FURTHEST:
            raise _no_cursor()
        self.after, self.total = start + count if start + count < len(queryset) else None, len(queryset)
        return list(queryset[start : start + count])

    def _keyed_rows(self, keyed: Keyed, count: int) -> list[Any]:
        if isinstance(self.cursor, int):
            raise _no_cursor()
        try:
            page = keyed.read(self.cursor, count + 1)
        except ValueError as error:
            raise _no_cursor() from error
        self.after, self.total = keyed.key(page[count - 1]) if len(page) > count else None, keyed.total
        return list(page[:count])

    def get_paginated_response(self, data: Any, **beside: Any) -> Response:
        pagination: dict[str, Any] = {"current": encoded(self.cursor), "totalEntries": self.total}
        if self.after is not None:
            pagination["next"] = encoded(self.after)
        return Response({"data": {self.name: data, "pagination": pagination, **beside}})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        inside = {self.name: schema, "pagination": {"$ref": "#/components/schemas/Pagination"}, **self.beside}
        data = {"type": "object", "required": [*inside], "properties": inside}
        return {"type": "object", "required": ["data"], "properties": {"data": data}}

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            build_parameter_type(
                parameter.name, cast("dict[str, Any]", parameter.type), "query", description=parameter.description
            )
            for parameter in self.parameters()
        ]

    @classmethod
    def parameters(cls) -> list[OpenApiParameter]:
        """For an answer that drf-spectacular does not take for a list."""
        count = {"type": "integer", "minimum": 1, "maximum": cls.most, "default": min(COUNT, cls.most)}
        cursor = "The `next` of the page before; from the start when it is not given."
        return [
            OpenApiParameter("pagination[count]", count, description="Rows per page."),
            OpenApiParameter("pagination[cursor]", {"type": "string"}, description=cursor),
        ]


class PagedView(GenericAPIView[Any]):
    """A view whose `pagination_class` is one of `Pages`."""

    def paged(
        self, rows: Any, serializer: type[Serializer[Any]], *, context: dict[str, Any] | None = None, **beside: Any
    ) -> Response:
        """The page that was asked for. context: what the serializer looks up. beside: what else is in `data`."""
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(serializer(page, many=True, context=context or {}).data, **beside)

    def paginate_queryset(self, queryset: Any) -> list[Any]:
        return self._pages.paginate_queryset(queryset, self.request, view=self)

    def get_paginated_response(self, data: Any, **beside: Any) -> Response:
        return self._pages.get_paginated_response(data, **beside)

    @property
    def _pages(self) -> Pages:
        return cast(Pages, self.paginator)


def encoded(cursor: int | str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()


def _no_cursor() -> Exception:
    return invalid("Not a cursor of this list.", "pagination[cursor]")
