"""The REST API as an outside client sees it: bearer token, camelCase JSON, pages and errors in one envelope."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

Json = dict[str, Any]
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds; a server or a store that was restarted is back by then


class ApiError(Exception):
    """The API refused, or is not there. The message names the call and what the server said."""


class Api:
    """One workspace, as the owner of `token` sees it. Paths are below /api/, such as `spaces/spa_…/audiences`."""

    def __init__(self, address: str, token: str):
        self.address = address
        self._http = httpx.Client(
            base_url=f"{address}/api/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(60, connect=5),
            transport=httpx.HTTPTransport(retries=3),  # of connecting, never of a call that may have arrived
            trust_env=False,  # no proxy between us and this machine
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        """The answer's `data`."""
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Json) -> Json:
        return self._call("POST", path, json=body)

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def all(self, path: str, name: str, *, count: int = 1000, **query: Any) -> Iterator[Json]:
        """Every row of a list, over all its pages."""
        for page in self.pages(path, count=count, **query):
            yield from page[name]

    def pages(self, path: str, *, count: int = 1000, **query: Any) -> Iterator[Json]:
        """Each page's `data`, until the last."""
        cursor: Any = None
        while True:
            place = {"pagination[cursor]": cursor} if cursor is not None else {}
            page = self.get(path, **query, **{"pagination[count]": count}, **place)
            yield page
            cursor = page["pagination"].get("next")
            if cursor is None:
                return

    def _call(self, method: str, path: str, **parts: Any) -> Json:
        # A question may be asked again; a change that may have arrived is never sent twice.
        for pause in (*PAUSES, None) if method == "GET" else (None,):
            try:
                answer = self._http.request(method, quote(path), **parts)
            except httpx.HTTPError as error:
                if pause is None or not isinstance(error, httpx.TransportError):
                    raise ApiError(f"{method} /api/{path}: {str(error) or type(error).__name__}") from error
            else:
                if pause is None or answer.status_code < 500:
                    break
            time.sleep(pause)
        if answer.is_success:
            return answer.json()["data"] if answer.content else {}
        try:  # the messages of the error envelope, each with the field it is about
            errors = answer.json()["errors"]
            reason = "; ".join(": ".join(filter(None, (error.get("field"), error["message"]))) for error in errors)
        except (ValueError, KeyError, TypeError, AttributeError):  # of something that stands in front of the console
            reason = answer.text[:300]
        raise ApiError(f"{method} /api/{path}: {answer.status_code} {reason}")
