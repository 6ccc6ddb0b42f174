"""Errors as the API states them: `{"errors": [{"type", "message", "field"}]}`, whoever raised them.

The shape is that of Segment's Public API (spec/ecosystem.md §5.3). Views raise DRF's exceptions and those below;
`access.api.errors` brings them into it.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.http import HttpRequest, JsonResponse
from rest_framework.exceptions import APIException, ValidationError

from spaces.settings_schema import InvalidSetting

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
NOTHING = "There is nothing here, or nothing that you may see."  # not there, or not yours: it does not say which


class Conflict(APIException):
    status_code = 409


class TooLarge(APIException):
    status_code = 413


class Unavailable(APIException):
    status_code = 503


def invalid(message: str, field: str | None = None) -> ValidationError:
    """field: the path in the body or the query, such as `invites[0].email`."""
    return ValidationError({field: [message]} if field else [message])  # a list: DRF turns it into the whole's errors


@contextmanager
def settings_inside(name: str, *, beside: Collection[str] = ()) -> Iterator[None]:
    """What a declaration refuses is in the object `name` of the body. beside: fields of the body itself."""
    try:
        yield
    except InvalidSetting as error:
        inside = error.inside or name
        path = f"{inside}.{error.field}" if error.field else inside
        raise invalid(str(error), error.field if error.field in beside else path) from error


def plain(status: int, message: str) -> JsonResponse:
    """The same outside of DRF: unknown routes and errors nobody caught."""
    return JsonResponse({"errors": [error_row(status, message)]}, status=status)


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")  # by the path: where no route was found there is nothing else to go by


def error_row(status: int, message: str, field: str = "") -> dict[str, str]:
    return {"type": TYPES.get(status, "error"), "message": message} | ({"field": field} if field else {})
