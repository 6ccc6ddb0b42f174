"""PURE. JSON text that both stores take: what JSON allows and they refuse is replaced, everything else is untouched.

PostgreSQL's jsonb refuses \\u0000 and halves of surrogate pairs; ClickHouse's JSON type refuses the latter, and deep
nesting. One such value must not cost the other rows of its batch anything. Numbers beyond a double, which ClickHouse
refuses too, are null in the archive already (sources.rules.spec): looking for them would cost more than all the rest.
"""

import json
import math
from typing import Any

from spaces.text import storable

DEEPEST = 100  # ClickHouse reads to 1,000, PostgreSQL to where its stack ends


def storable_json(text: bytes) -> bytes:
    """The same JSON value without what a store refuses: such characters become U+FFFD, such values null."""
    if b"\\u" not in text and text.count(b"[") + text.count(b"{") < DEEPEST:
        return text
    try:
        value = json.loads(text, parse_float=_finite, parse_int=_short)
    except RecursionError:
        return b"{}" if text.startswith(b"{") else b"null"
    return json.dumps(_clean(value, 0), ensure_ascii=False, separators=(",", ":")).encode()


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _short(text: str) -> int | None:
    return int(text) if len(text) < 300 else None


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return storable(value)
    if depth >= DEEPEST and isinstance(value, list | dict):
        return None
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable(key): _clean(item, depth + 1) for key, item in value.items()}
    return value
