"""How much one workspace may take: events a second, and what a ClickHouse statement may cost. By setting.

PERSONAS_LIMITS is JSON, by whom it concerns: "ask" (statements that somebody waits for: pages, previews, the API),
"work" (statements of the stages and of computes), "workspace" and "source" (what each may send), "space" (how often
its Profile API may be asked), and the ids of workspaces, sources and spaces, whose own limits come first. 0 = no limit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec
from django.conf import settings


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """None = as everybody's."""

    seconds: int | None = None
    memory_mb: int | None = None
    threads: int | None = None

    def settings(self, everybody: "Statement") -> dict[str, int]:
        """As ClickHouse names them."""
        named = {
            "max_execution_time": (self.seconds, everybody.seconds, 1),
            "max_memory_usage": (self.memory_mb, everybody.memory_mb, 10**6),
            "max_threads": (self.threads, everybody.threads, 1),
        }
        limits = {name: (other if own is None else own) for name, (own, other, _) in named.items()}
        return {name: value * named[name][2] for name, value in limits.items() if value}


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a workspace, a source or a space. None = as everybody's."""

    events_per_second: float | None = None
    reads_per_second: float | None = None
    ask: Statement = Statement()
    work: Statement = Statement()


# A preview that takes so long, or so much, is in the way of whoever is served meanwhile.
ASK = Statement(seconds=20, memory_mb=2000, threads=0)
READS_PER_SECOND = 100.0  # of a space's Profile API, as Segment allows
WORK = Statement(seconds=300, memory_mb=0, threads=0)


class Limits:
    """What a text says. Raises ValueError, with the reason, for what is no such JSON."""

    def __init__(self, text: str) -> None:
        given = msgspec.json.decode(text or "{}", type=dict[str, msgspec.Raw])
        self._ask = _pop(given, "ask", Statement)
        self._work = _pop(given, "work", Statement)
        self._rates = {kind: _pop(given, kind, Owner).events_per_second or 0.0 for kind in ("workspace", "source")}
        reads = _pop(given, "space", Owner).reads_per_second
        self._reads = READS_PER_SECOND if reads is None else reads
        self._of: Mapping[str, Owner] = {
            public_id: msgspec.json.decode(own, type=Owner) for public_id, own in given.items()
        }

    def rate(self, kind: str, public_id: str) -> float:
        """Events a second of a "workspace" or a "source"."""
        own = self._of.get(public_id, Owner()).events_per_second
        return self._rates[kind] if own is None else own

    def reads(self, space: str) -> float:
        """Requests a second of the Profile API of a space (its public id)."""
        own = self._of.get(space, Owner()).reads_per_second
        return self._reads if own is None else own

    def statement(self, workspace: str, *, asked: bool) -> dict[str, int]:
        """ClickHouse's settings for a statement of the workspace (its public id)."""
        own = self._of.get(workspace, Owner())
        return own.ask.settings(_over(self._ask, ASK)) if asked else own.work.settings(_over(self._work, WORK))


def _pop(given: dict[str, msgspec.Raw], name: str, kind: type[Any]) -> Any:
    return msgspec.json.decode(given.pop(name, msgspec.Raw(b"{}")), type=kind)


def _over(given: Statement, default: Statement) -> Statement:
    known = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}
    return msgspec.structs.replace(default, **known)


_now: ContextVar[tuple[str, bool] | None] = ContextVar("limits", default=None)


def asking(workspace: str) -> None:
    """From now on this thread's statements are asked for by somebody of the workspace (its public id)."""
    _now.set((workspace, True))


@contextmanager
def working(workspace: str) -> Iterator[None]:
    """Inside, this thread's statements are work for the workspace (its public id)."""
    before = _now.set((workspace, False))
    try:
        yield
    finally:
        _now.reset(before)


def on_behalf_of() -> str:
    """The public id of the workspace that this thread works or asks for; "" when nobody said."""
    now = _now.get()
    return now[0] if now else ""


def of_statement() -> dict[str, int]:
    """The ClickHouse settings of a statement that is asked now; none where nobody said for whom, as in a command."""
    now = _now.get()
    return settings.LIMITS.statement(now[0], asked=now[1]) if now else {}
