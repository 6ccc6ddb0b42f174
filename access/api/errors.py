"""Whatever a view raises, in the shape of `access.errors`, by drf-standardized-errors.

The library flattens what DRF nests. Ours are the shape, the way paths are written, and 422 for a body that means
nothing.
"""

import re
from functools import singledispatch
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import ErrorResponse
from rest_framework import exceptions
from rest_framework.exceptions import APIException, NotFound, ParseError, ValidationError
from rest_framework.response import Response

from access.errors import NOTHING, Conflict, error_row
from access.services import NotPossible


@singledispatch
def as_answered(error: Exception) -> Exception:
    """What a refusal of a service is to whoever asked. An app registers those of its own; any other stays itself.

    By the exception, since a service means the same by it wherever it is called. A view that knows better catches it.
    """
    return error


@as_answered.register
def _(error: NotPossible) -> APIException:
    return Conflict(str(error))


class ErrorHandler(ExceptionHandler):
    """Every expected error in the envelope; what nobody expected becomes a 500 by Django's own handler."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, Http404):  # Django's says of which table, which is nobody's business
            return NotFound(NOTHING)
        if isinstance(exc, PermissionDenied):
            return exceptions.PermissionDenied(str(exc) or "You may not do this.")
        # As Python's reader of JSON gives up: the body is at fault, and not we.
        if isinstance(exc, RecursionError):
            return ParseError("The body is nested too deep.")
        exc = as_answered(exc)
        if isinstance(exc, ValidationError):
            exc.status_code = 422  # 400 is for what is no request at all; see decision 18
        return exc

    def should_not_handle(self, exc: Exception) -> bool:
        return not isinstance(exc, APIException)

    def report_exception(self, exc: APIException, response: Response) -> None:
        """Nothing to report: what gets here is an answer that we chose to give."""


class ErrorFormatter(ExceptionFormatter):
    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        rows = []
        for error in error_response.errors:
            # What is wrong with the whole has no name of its own; `invites.1.email` is `invites[1].email` here.
            path = re.sub(r"(^|\.)non_field_errors$", "", error.attr or "")
            path = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)
            rows.append(error_row(self.exc.status_code, error.detail, path))
        return {"errors": rows}
