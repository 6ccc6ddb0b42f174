"""The web process. Chunked bodies reach Django empty without `sized` (foundations §5)."""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")

LARGEST = 6 * 1024 * 1024  # bytes of a body, for every address: DATA_UPLOAD_MAX_MEMORY_SIZE


def sized(app: Callable[..., Iterable[bytes]], limit: int) -> Callable[..., Iterable[bytes]]:
    """The app, for which every body has a length: a chunked one is read here, up to `limit` bytes.

    A body over the limit is not there, but its length is: so each address refuses it with an answer of its own shape.
    """

    def inner(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(limit + 1)
            kept = body if len(body) <= limit else b""
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(kept), str(len(body))
        return app(environ, start_response)

    return inner


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


django.setup(set_prefix=False)
application = sized(Handler(), LARGEST)
