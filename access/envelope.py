"""How every answer of the API looks: `{"data": {…}}`, or `{"errors": [{"type", "message", "field"}]}`.

The shape, and the pagination inside it, are those of Segment's Public API (spec/ecosystem.md §5.3).
"""

import base64
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

logger = logging.getLogger(__name__)

TYPES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "timeout",
    409: "conflict",
    413: "too-large",
    415: "unsupported-media-type",
    422: "validation-error",
    429: "too-many-requests",
    500: "internal-error",
    503: "unavailable",
}
COUNT, MOST = 20, 1000  # rows per page: when not asked for, and at most
FURTHEST = 2**31  # no list is so long

Error = dict[str, str]


class ApiError(APIException):
    """An answer that is an error. `field` is the path in the body or the query, such as `invites[0].email`."""

    def __init__(self, status: int, type: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status
        self.errors = [_error(type, message, field)]


def invalid(message: str, field: str | None = None) -> ApiError:
    return ApiError(422, TYPES[422], message, field)


def conflict(message: str) -> ApiError:
    return ApiError(409, TYPES[409], message)


def missing() -> ApiError:
    """Not there, or not yours: the answer does not say which."""
    return ApiError(404, TYPES[404], "There is nothing here, or nothing that you may see.")


def forbidden(message: str) -> ApiError:
    return ApiError(403, TYPES[403], message)


def data(status: int = 200, **fields: Any) -> Response:
    return Response({"data": fields}, status=status)


def done() -> Response:
    """It is gone, or it was gone already."""
    return Response({"data": {"status": "SUCCESS"}})


def parsed(serializer: type[Serializer[Any]], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """The body, validated. 422 with one error per wrong field, each with its path; unknown fields are wrong.

    partial: fields that are missing are left out, whatever they default to (PATCH).
    """
    if not isinstance(request.data, dict):
        raise invalid("The body must be a JSON object.")
    form = serializer(data=request.data, partial=partial)
    known = form.fields
    wrong = [_error(TYPES[422], "Unknown field.", name) for name in request.data if name not in known]
    if not form.is_valid() or wrong:
        raise _invalid([*_flat(form.errors), *wrong])
    return dict(form.validated_data)


def page(
    request: Request,
    rows: QuerySet[Any] | Sequence[Any],
    *,
    name: str,
    render: Callable[[Any], Any],
    order: str = "id",
    most: int = MOST,
    **extra: Any,
) -> Response:
    """One page of `rows` as `{"data": {name: […], "pagination": {…}, **extra}}`.

    A queryset is paged by the value of `order`, a unique column (`-id` = newest first): nothing is shown twice
    or left out when rows come or go meanwhile. A sequence is paged by position.
    """
    count, cursor = _count(request, most), _cursor(request)
    found, after, total = (
        _rows_after(rows, cursor, count, order) if isinstance(rows, QuerySet) else _slice_after(rows, cursor, count)
    )
    return _paged(name, [render(row) for row in found], cursor, after, total, extra)


def keyed_page(
    request: Request,
    read: Callable[[str | None, int], Sequence[Any]],
    *,
    name: str,
    key: Callable[[Any], str],
    render: Callable[[Any], Any],
    total: int,
    most: int = MOST,
    gather: Callable[[list[Any]], Any] = list,
    **extra: Any,
) -> Response:
    """The same of rows from elsewhere: `read(after, count)` gives those after a key, in order; None = from the start.

    key: of a row, never twice. `read` raises ValueError for a text that is no key. gather: what the rows become.
    """
    count, cursor = _count(request, most), _cursor(request)
    if isinstance(cursor, int):
        raise invalid("Not a cursor of this list.", "pagination[cursor]")
    try:
        found = read(cursor, count + 1)
    except ValueError as error:
        raise invalid("Not a cursor of this list.", "pagination[cursor]") from error
    after = key(found[count - 1]) if len(found) > count else None
    return _paged(name, gather([render(row) for row in found[:count]]), cursor, after, total, extra)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: every expected error in the envelope. None lets it become a 500 (`failed`)."""
    if isinstance(error, Http404):
        error = missing()
    elif isinstance(error, PermissionDenied):
        error = forbidden(str(error) or "You may not do this.")
    elif isinstance(error, RecursionError):
        error = ApiError(400, TYPES[400], "The body is nested too deep.")
    if not isinstance(error, APIException):
        return None
    status, errors = _read(error)
    return Response({"errors": errors}, status=status, headers=_headers(error))


def plain(status: int, message: str) -> JsonResponse:
    """The envelope outside of DRF: unknown routes and errors nobody caught."""
    return JsonResponse({"errors": [_error(TYPES[status], message, None)]}, status=status)


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _error(type: str, message: str, field: str | None) -> Error:
    return {"type": type, "message": message} | ({"field": field} if field else {})


def _invalid(errors: list[Error]) -> ApiError:
    raised = invalid(errors[0]["message"])
    raised.errors = errors
    return raised


def _read(error: APIException) -> tuple[int, list[Error]]:
    if isinstance(error, ApiError):
        return error.status_code, error.errors
    if isinstance(error, ValidationError):
        return 422, list(_flat(error.detail))
    return error.status_code, [_error(TYPES.get(error.status_code, "error"), str(error.detail), None)]


def _headers(error: APIException) -> dict[str, str]:
    """What DRF leaves on an error for the header of its answer."""
    named = {"WWW-Authenticate": getattr(error, "auth_header", None), "Retry-After": getattr(error, "wait", None)}
    return {name: str(value) for name, value in named.items() if value}


def _flat(detail: Any, path: str = "") -> Iterator[Error]:
    """DRF's nested errors as a list with paths: {"invites": [{}, {"email": [e]}]} -> `invites[1].email`."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _flat(inner, path if name == "non_field_errors" else _join(path, name))
    elif isinstance(detail, list | tuple):
        for position, inner in enumerate(detail):
            yield from _flat(inner, path if isinstance(inner, ErrorDetail | str) else f"{path}[{position}]")
    else:
        yield _error(TYPES[422], str(detail), path or None)


def _join(path: str, name: Any) -> str:
    if isinstance(name, int):  # a ListField names its rows by number
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else str(name)


def _paged(name: str, rows: Any, cursor: Any, after: Any, total: int, extra: dict[str, Any]) -> Response:
    pagination: dict[str, Any] = {"current": _encode(cursor), "totalEntries": total}
    if after is not None:
        pagination["next"] = _encode(after)
    return Response({"data": {name: rows, "pagination": pagination, **extra}})


def _count(request: Request, most: int) -> int:
    """`limit`, as Segment's Profile API calls it, is another word for it."""
    name = "limit" if "limit" in request.query_params else "pagination[count]"
    asked = request.query_params.get(name, str(min(COUNT, most)))
    if not asked.isascii() or not asked.isdigit() or len(asked) > 6 or not 1 <= int(asked) <= most:
        raise invalid(f"Must be a number from 1 to {most}.", name)
    return int(asked)


def _cursor(request: Request) -> int | str | None:
    """The last value of the page before; None = from the start."""
    text = request.query_params.get("pagination[cursor]")
    if not text:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(text.encode()))
    except ValueError as error:
        raise invalid("Not a cursor of this list.", "pagination[cursor]") from error
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise invalid("Not a cursor of this list.", "pagination[cursor]")
    return value


def _encode(cursor: int | str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()


def _rows_after(rows: QuerySet[Any], cursor: Any, count: int, order: str) -> tuple[list[Any], Any, int]:
    column, side = order.removeprefix("-"), "lt" if order.startswith("-") else "gt"
    total = rows.count()
    try:
        rest = rows if cursor is None else rows.filter(**{f"{column}__{side}": cursor})
    except (ValueError, TypeError) as error:
        raise invalid("Not a cursor of this list.", "pagination[cursor]") from error
    found = list(rest.order_by(order)[: count + 1])
    more = len(found) > count
    return found[:count], getattr(found[count - 1], column) if more else None, total


def _slice_after(rows: Sequence[Any], cursor: Any, count: int) -> tuple[list[Any], int | None, int]:
    start = 0 if cursor is None else cursor
    if not isinstance(start, int) or not 0 <= start < FURTHEST:
        raise invalid("Not a cursor of this list.", "pagination[cursor]")
    end = start + count
    return list(rows[start:end]), end if end < len(rows) else None, len(rows)
