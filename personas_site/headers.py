"""What every answer carries, and what no request may: before any view, for pages and the API alike."""

from collections.abc import Callable
from typing import TypeVar
from zoneinfo import ZoneInfo

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from access.errors import is_api
from identity.rules.profile_requests import is_profile_api
from sources.collect import is_collect

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",  # the arrows and ticks inside Bootstrap's stylesheet
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
Response = TypeVar("Response", bound=HttpResponseBase)
GetResponse = Callable[[HttpRequest], HttpResponseBase]


def with_policy(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


class ContentPolicy:
    """A page loads nothing from anywhere but here, runs no inline script or style, and is kept by no cache."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return with_policy(self.get_response(request))


class OfClients:
    """Where client libraries send, the write key decides: any host name is ours, and nobody reads a cookie."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_collect(request.path_info):
            request.META.pop("HTTP_COOKIE", None)
            request.get_host = request._get_raw_host  # type: ignore[attr-defined, method-assign]
        return self.get_response(request)


class ReaderZone:
    """Days and times of pages are those of whoever reads them, once their browser has said where they are.

    The API and downloads have moments in UTC, whoever asks.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = request.COOKIES.get("zone", "")
        try:
            zone = ZoneInfo(name) if name else None
        except (KeyError, ValueError, OSError):  # there is none of this name, or it is no name
            zone = None
        with timezone.override(zone):
            return self.get_response(request)


class NoNul:
    """An address, a cookie or a form with a NUL is a bad request: PostgreSQL has no text with one.

    What clients send, and the bodies of the API, are read by those who say which message, or which field, it is in.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            raise BadRequest("a NUL in the address")
        if any("\0" in value for value in request.COOKIES.values()):
            raise BadRequest("a NUL in a cookie")
        is_program = is_collect(request.path_info) or is_api(request) or is_profile_api(request.path_info)
        is_form = request.method == "POST" and not is_program
        if is_form and any("\0" in text for name, values in request.POST.lists() for text in (name, *values)):
            raise BadRequest("a NUL in a form")
        return self.get_response(request)
