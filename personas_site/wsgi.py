"""The web process. Chunked bodies reach Django empty without `sized` (foundations §5)."""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")

LARGEST = 6 * 1024 * 1024  # bytes of a body without Content-Length


def sized(app: Callable[..., Iterable[bytes]], limit: int) -> Callable[..., Iterable[bytes]]:
    """The app, for which every body has a length: a chunked one is read here, up to `limit` bytes."""

    def inner(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(limit + 1)
            if len(body) > limit:
                start_response("413 Content Too Large", [("Content-Length", "0")])
                return [b""]
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        return app(environ, start_response)

    return inner


application = sized(get_wsgi_application(), LARGEST)
