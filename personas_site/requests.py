"""Requests as Django is to read them."""

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpRequest
from django.urls import ResolverMatch

RESOLVED = "personas.resolved"  # in the environ: a path, and what it was resolved to


class Utf8Request(WSGIRequest):
    """A request whose address and forms are UTF-8, whatever charset its content type names.

    Django would read the address in that one, before any code of ours runs; some are no charsets at all (`hex`).
    """

    @property
    def encoding(self) -> None:
        return None  # the default: UTF-8

    @encoding.setter
    def encoding(self, charset: str) -> None:
        pass


class Handler(WSGIHandler):
    """What `personas_site.front` has resolved already is not resolved again."""

    request_class = Utf8Request

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        path, match = request.META.pop(RESOLVED, ("", None))
        if match is None or path != request.path_info or hasattr(request, "urlconf"):
            return super().resolve_request(request)
        request.resolver_match = match
        return match
