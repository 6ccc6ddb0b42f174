"""PURE. What came back from a call to the outside."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spaces.text import storable


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. Header names are lower case; `body` is cut where the caller's limit was."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    milliseconds: float = 0.0

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def text(self, limit: int = 500) -> str:
        """The start of the body as text, whatever bytes it holds."""
        return storable(self.body[: limit * 4].decode("utf-8", "replace"))[:limit].strip()
