"""The inbox, where a request is committed before anybody is told that it was accepted."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from sources.rules.packing import pack
from sources.rules.spec import SOURCE_DISABLED
from spaces.rates import spend

EACH_ROW = 200  # bytes, beside its body
SOONEST_S = 1.0  # between two measurements …
BURST_S = 5.0  # of a rate may come at once
COST = 20  # … and so many times as long as the last one took
MOST_REFUSED = 50  # kinds of refusals that are kept of a source
WAITING = """SELECT source_id, sum(coalesce(length, octet_length(body)) + %s)::bigint
               FROM sources_inbox GROUP BY source_id"""


class InboxFull(Exception):
    """The archive is so far behind that nothing more is taken in."""


@dataclass(frozen=True)
class Sender:
    """Whose write key it is."""

    source_id: int
    workspace_id: int
    enabled: bool
    source_rate: float = 0  # events a second; 0 = no limit
    workspace_rate: float = 0


def keep(sender: Sender, *, call: str, body: bytes) -> None:
    """The request is in the inbox, received at this moment by the database's clock.

    Raises InboxFull, and IntegrityError when the source was deleted a moment ago.
    """
    gauge.admit(sender.source_id, EACH_ROW + len(body))
    # What a disabled source sends is kept as rejects, where its owner sees it: a 4xx would make clients drop it.
    refused = "" if sender.enabled else SOURCE_DISABLED
    kept, length = pack(body)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sources_inbox (workspace_id, source_id, call, body, length, received_at, refused, taken)
               VALUES (%s, %s, %s, %s, %s, clock_timestamp(), %s, false)""",
            [sender.workspace_id, sender.source_id, call, kept, length, refused],
        )


def note_refusal(sender: Sender, *, path: str, status: int, code: str, reason: str) -> None:
    """One more request of the source was refused so."""
    path = path[:100]
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*), count(*) FILTER (WHERE code = %s AND path = %s)
                 FROM sources_refused WHERE source_id = %s""",
            [code, path, sender.source_id],
        )
        kinds, known = cursor.fetchone()
        if kinds >= MOST_REFUSED and not known:  # anybody who has the key can think of any number of paths
            code, path, reason = "others", "", "For still other reasons, or at still other addresses."
        cursor.execute(
            """INSERT INTO sources_refused AS kept
                      (workspace_id, source_id, code, path, status, reason, requests, first_at, last_at)
               VALUES (%s, %s, %s, %s, %s, %s, 1, clock_timestamp(), clock_timestamp())
               ON CONFLICT (source_id, code, path) DO UPDATE
               SET requests = kept.requests + 1, last_at = excluded.last_at, reason = excluded.reason""",
            [sender.workspace_id, sender.source_id, code, path, status, reason],
        )


def wait_of(sender: Sender, events: Callable[[], int]) -> float:
    """0.0 when the sender may send so many events now, and they count; else the seconds to wait."""
    for kind, owner, rate in (
        ("source", sender.source_id, sender.source_rate),
        ("workspace", sender.workspace_id, sender.workspace_rate),
    ):
        if rate and (wait := spend(f"{kind}:{owner}", rate=rate, burst=max(rate * BURST_S, 1), cost=events())):
            return wait
    return 0.0


class Gauge:
    """How many bytes wait in the inbox, as far as this process knows: measured now and then, counted in between."""

    def __init__(self) -> None:
        self._measuring = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """The next request measures."""
        self._bytes: Counter[int] = Counter()
        self._total = 0
        self._due = 0.0

    def admit(self, source: int, size: int) -> None:
        """There is room for `size` bytes more of this source. Raises InboxFull."""
        # One thread measures, the others go on with what is known: none waits for a sum over the whole inbox.
        if time.monotonic() >= self._due and self._measuring.acquire(blocking=False):
            try:
                begun = time.monotonic()
                with connection.cursor() as cursor:
                    cursor.execute(WAITING, [EACH_ROW])
                    self._bytes = Counter(dict(cursor.fetchall()))
                self._total = self._bytes.total()
                # The fuller the inbox the dearer the sum, and the less often: it takes a twentieth of the time at most.
                self._due = begun + max(SOONEST_S, COST * (time.monotonic() - begun))
            finally:
                self._measuring.release()
        if self._total + size > settings.INBOX_MAX_BYTES:
            raise InboxFull("The inbox is full. Try again later.")
        if self._bytes[source] + size > settings.INBOX_SOURCE_MAX_BYTES:
            raise InboxFull("Too much of this source waits in the inbox. Try again later.")
        self._total += size  # threads may lose a count to one another: the next measurement does not
        self._bytes[source] += size


gauge = Gauge()
