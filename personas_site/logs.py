"""Lines of the log: what they must not say, and by which ids one finds what belongs together."""

import json
import logging
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

from celery import current_task
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from identity.rules.profile_requests import is_profile_api
from spaces.limits import on_behalf_of
from spaces.times import iso

SECRET = re.compile(r"(/(?:invitations|welcome|password/[^/\s]+)/)[^/\s?'\"]+")
GIVEN_ID = re.compile(r"[\w.:-]{1,64}")
HEADER, PROFILE_API_HEADER = "X-Request-Id", "Request-Id"

_request: ContextVar[str] = ContextVar("request", default="")


class RequestId:
    """Each request has an id, its proxy's or one of ours: in the answer, and in what is logged meanwhile."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        request_id = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        _request.set(request_id)  # to the end of it: Django logs an error after the last middleware
        response = self.get_response(request)
        response.headers[HEADER] = request_id
        if is_profile_api(request.path_info):
            response.headers[PROFILE_API_HEADER] = request_id
        return response


class Secretless(logging.Filter):
    """Addresses of links that let somebody in are logged without their secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if SECRET.search(message):
            record.msg, record.args = SECRET.sub(r"\1…", message), ()
        return True


def ids() -> dict[str, str]:
    """Those of what is going on now: the request, the workspace, the task."""
    task = current_task.request.id if current_task else ""
    named = {"request": _request.get(), "workspace": on_behalf_of(), "task": task or ""}
    return {name: value for name, value in named.items() if value}


class Lines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        known = " ".join(f"{name}={value}" for name, value in ids().items())
        return super().formatMessage(record) + (f" [{known}]" if known else "")


class JsonLines(logging.Formatter):
    """For programs: an object a line, with `at`, `level`, `logger`, `message`, the ids, and `error` with its trace."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **ids(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
