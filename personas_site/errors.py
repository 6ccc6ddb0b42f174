"""What is shown when something is not there, not allowed, or broken: JSON for programs, else a page."""

from functools import cache
from typing import Any

from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.csrf import requires_csrf_token

from access.errors import NOTHING, is_api, plain
from identity import profile_api
from identity.rules.profile_requests import is_profile_api
from personas_site.headers import with_policy
from sources.collect import RETRY_AFTER_S, is_collect, refusal
from spaces.needs import ANYONE, needs

HOST = "This console is not called so. Whoever runs it can add the name to PERSONAS_HOSTS."
CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    408: "too_slow",
    413: "body_too_large",
    500: "internal_error",
    503: "unavailable",
}


@needs(ANYONE)
def unknown_api(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """Every path under /api/ that is none of ours."""
    return plain(404, NOTHING)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return _answer(request, 413, "That is too much for one request.")
    host = isinstance(exception, DisallowedHost)
    return _answer(request, 400, HOST if host else "The request could not be understood.")


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, str(exception) or "You may not do this.")


def missing(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, NOTHING)


def failed(request: HttpRequest) -> HttpResponse:
    return _answer(request, 500, "Something went wrong on our side. It is in the log; please try again.")


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _answer(request, 403, "This form is too old, or cookies are off. Go back, reload the page and try again.")


def unserved(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """What the front of the web process answers in place of a view. Asks no store, and no cookie who it is."""
    answer = _spoken(request, status, message) or HttpResponse(_unserved_page(message), status=status)
    if status == 503:
        answer["Retry-After"] = str(RETRY_AFTER_S)
    return with_policy(answer)


@cache
def _unserved_page(message: str) -> str:
    return render_to_string("unserved.html", {"message": message})


def _spoken(request: HttpRequest, status: int, message: str) -> HttpResponse | None:
    """The answer to a program; None for whoever wants a page."""
    if is_collect(request.path):
        return refusal(request, status, CODES[status], message)
    if is_profile_api(request.path):
        return profile_api.refusal(status, message)
    return plain(status, message) if is_api(request) else None


def _answer(request: HttpRequest, status: int, message: str) -> HttpResponse:
    if spoken := _spoken(request, status, message):
        return spoken
    return render(request, f"{400 if status == 413 else status}.html", {"message": message}, status=status)
