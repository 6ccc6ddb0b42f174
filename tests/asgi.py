"""Requests as the server hands them to the web process."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote


def scope_of(method: str, path: str, headers: Mapping[str, str] = {}) -> dict[str, Any]:
    address, _, query = path.partition("?")
    named = {"host": "testserver"} | dict(headers)
    return {
        "type": "http",
        "method": method,
        "path": address,
        "raw_path": quote(address).encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", "80"),
        "client": ("127.0.0.1", "50000"),
    }


def chunks(body: bytes, size: int = 64 * 1024) -> Callable[[], Awaitable[dict[str, Any]]]:
    """How a body comes: `size` bytes at a time."""
    parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    return receive
