"""Requests as Django is to read them."""

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest


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
    request_class = Utf8Request
