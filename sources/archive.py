"""The archive stage, per source: what waits in the inbox becomes numbered batches of the archive, each message once.

Every message of every accepted request ends as exactly one of archived, doubled, rejected and suppressed. A prepared
batch holds no message: which inbox rows it took and which of their messages are doubled or suppressed is enough, since
the rows stay until Commit and `spec.parse` is pure. So write and commit, however often they are done, work on the same
messages.
"""

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import connection

from sources.events import archive_table as events
from sources.models import ARCHIVE, Reject, Source
from sources.rules import spec
from sources.rules.packing import unpack
from sources.suppression import suppressed_messages
from spaces.batches import Overtaken, unfinished
from spaces.models import Log
from spaces.text import storable, text_of
from spaces.times import from_milliseconds

logger = logging.getLogger(__name__)

BYTES_PER_PIECE = 8 * 1024 * 1024  # of bodies
TEXT_PER_PIECE = 4 * BYTES_PER_PIECE  # of normalised messages: what a batch adds to each can make them much longer
MESSAGES_PER_PIECE = 5_000  # so that a flood of small ones has no longer turns than any other, and others have theirs
LONGEST_EVENT_NAME = 200

Result = spec.Message | spec.Rejected


class PreparedArchive(msgspec.Struct):
    """What a batch takes: the messages [start, stop) of these inbox rows, counted through; stop None = all of them.

    doubled: which of them were archived before, by their place in the count; suppressed: which are about people of whom
    nothing is to be heard. closes: whether the rows are done with it; a row that was split is closed by its last part.
    """

    rows: list[int]
    correct_clocks: bool
    doubled: list[int]
    start: int = 0
    stop: int | None = None
    closes: bool = True
    suppressed: list[int] = []


class Receipt(NamedTuple):
    """The request that a message came in: its inbox row, when it was received, in milliseconds, and its call."""

    inbox: int
    at: int
    call: str


class Outcome(msgspec.Struct):
    """What a batch came to, for Commit."""

    archived: list[spec.Message]
    doubled: int
    rejected: list[tuple[spec.Rejected, Receipt]]
    suppressed: int
    last_received_at: int


Parsed = list[tuple[Result, Receipt]]


class Archive:
    """The stage. What Prepare parsed is kept for the Write of this thread that follows at once; others parse again."""

    name = ARCHIVE
    prepared = PreparedArchive
    batch_size = 2000  # requests

    def __init__(self) -> None:
        self._prepared: date | None = None
        self._here = threading.local()

    def read(self, log: Log, limit: int) -> list[spec.Request] | None:
        """The oldest requests that wait, up to about 8 MB of them; a batch takes as many as it has room for."""
        today = datetime.now(UTC).date()
        with connection.cursor() as cursor:
            if self._prepared != today:  # once a day: this week and the next have tables of ids, the oldest goes
                cursor.execute("SELECT sources_seen_prepare(%s)", [settings.DEDUP_DAYS])
                self._prepared = today
            # The running sum leaves out the row's own size, so that a request larger than the room comes, alone.
            cursor.execute(
                f"""SELECT {REQUEST} FROM (
                        SELECT *, sum(size) OVER (ORDER BY id) - size AS before FROM (
                            SELECT *, coalesce(length, octet_length(body)) AS size
                              FROM sources_inbox WHERE source_id = %s AND NOT taken ORDER BY id LIMIT %s
                        ) oldest
                    ) counted WHERE before < %s ORDER BY id""",
                [log.partition, limit, BYTES_PER_PIECE],
            )
            return _as_requests(cursor.fetchall()) or None

    def size(self, intake: list[spec.Request]) -> int:
        return len(intake)

    def prepare(self, log: Log, intake: list[spec.Request], number: int) -> PreparedArchive | None:
        correct_clocks = Source.objects.values_list("correct_clocks", flat=True).get(pk=log.partition)
        taken: list[int] = []
        parsed: Parsed = []
        size = 0
        for request in intake:
            results = list(_parse(request, correct_clocks))
            size += sum(len(result.text) for result, _ in results if isinstance(result, spec.Message))
            # Never none: a request that alone is more than a batch holds would wait for ever.
            if taken and (size > TEXT_PER_PIECE or len(parsed) + len(results) > MESSAGES_PER_PIECE):
                break
            taken.append(request.inbox)
            parsed += results
        # A stalled worker that wakes up late, or two that saw the same rows: whoever comes second takes none of them.
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sources_inbox SET taken = true WHERE id = ANY(%s) AND NOT taken", [taken])
            if missing := len(taken) - cursor.rowcount:
                raise Overtaken(f"{missing} requests from inbox row {taken[0]} on are taken or gone")
        self._here.parsed = (tuple(taken), correct_clocks, parsed)
        # Decided here and not when it is written: the list may change meanwhile, and a batch is the same each time.
        suppressed = suppressed_messages(
            log.workspace_id,
            [result.text if isinstance(result, spec.Message) else result.message for result, _ in parsed],
        )
        hashes = [
            _hash(result.message_id) if isinstance(result, spec.Message) and place not in suppressed else ""
            for place, (result, _) in enumerate(parsed)
        ]
        new = _keep_seen(log, list(dict.fromkeys(filter(None, hashes))))
        doubled = []
        for place, hash in enumerate(hashes):
            if hash in new:
                new.remove(hash)  # the first of the batch; the source may send it twice in one request
            elif hash:
                doubled.append(place)
        return PreparedArchive(taken, correct_clocks, doubled, suppressed=sorted(suppressed))

    def write(self, log: Log, prepared: PreparedArchive, number: int) -> Outcome:
        parsed = self._messages(prepared)
        archived = _archived(prepared, parsed)
        rows = [
            events.ArchivedRow(message.ts, receipt.at, message.type, message.event, message.message_id, message.text)
            for message, receipt in archived
        ]
        events.insert(workspace_id=log.workspace_id, source_id=log.partition, piece=number, rows=rows)
        return _outcome(prepared, parsed, [message for message, _ in archived])

    def commit(self, log: Log, prepared: PreparedArchive, number: int, outcome: Outcome) -> None:
        _keep_rejects(log, outcome.rejected)
        _count_event_names(log, outcome.archived)
        rejected = sum(reject.messages for reject, _ in outcome.rejected)
        _count(log, len(outcome.archived), outcome.doubled, rejected, outcome.suppressed, outcome.last_received_at)
        if prepared.closes:
            _close(prepared.rows)

    def split(self, prepared: PreparedArchive) -> Sequence[PreparedArchive]:
        """By requests while there are several, then by the messages of the one."""
        replace = msgspec.structs.replace
        if len(prepared.rows) > 1:
            middle = len(prepared.rows) // 2
            before = sum(len(row) for row in self._messages_by_row(prepared)[:middle])
            # Messages are named by their place in the count, which the second half begins anew.
            named = {name: getattr(prepared, name) for name in ("doubled", "suppressed")}
            first = {name: [place for place in places if place < before] for name, places in named.items()}
            second = {name: [place - before for place in places if place >= before] for name, places in named.items()}
            return (
                replace(prepared, rows=prepared.rows[:middle], **first),
                replace(prepared, rows=prepared.rows[middle:], **second),
            )
        start, stop = prepared.start, prepared.stop
        stop = len(self._messages_by_row(prepared)[0]) if stop is None else stop
        if stop - start < 2:
            return ()
        middle = (start + stop) // 2
        # The row stays until its last part is done: both are parsed from it again.
        return (
            replace(prepared, start=start, stop=middle, closes=False),
            replace(prepared, start=middle, stop=stop),
        )

    def refuse(self, log: Log, prepared: PreparedArchive, error: Exception) -> None:
        """The one message is a reject, kept whole, and can be sent again: its id counts as never seen."""
        parsed = self._messages(prepared)
        outcome = _outcome(prepared, parsed, [message for message, _ in _archived(prepared, parsed)])
        outcome.archived = []
        for message, receipt in _archived(prepared, parsed):
            with connection.cursor() as cursor:
                cursor.execute(
                    "DELETE FROM sources_seen WHERE source_id = %s AND hash = %s",
                    [log.partition, _hash(message.message_id)],
                )
            text = spec.as_sent(message.text).decode()
            reject = spec.Rejected(spec.UNSTORABLE, text_of(error, 1000), "", message.message_id, text)
            outcome.rejected.append((reject, receipt._replace(call=message.type)))
        self.commit(log, prepared, 0, outcome)

    def skip(self, log: Log, intake: list[spec.Request], error: Exception) -> None:
        """The one request is a reject, kept whole when it is text: who sent it was told that it was accepted."""
        for request in intake[:1]:
            text = storable(request.body.decode("utf-8", "replace"))
            code = spec.UNSTORABLE if text.encode() == request.body else spec.INVALID_ENCODING
            reject = spec.Rejected(code, text_of(error, 1000), "", message=text)
            _keep_rejects(log, [(reject, Receipt(request.inbox, request.received_at, request.call))])
            _count(log, 0, 0, 1, 0, request.received_at)
            _close([request.inbox])

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        events.erase(log.partition, numbers)

    def _messages(self, prepared: PreparedArchive) -> Parsed:
        """The messages of the prepared batch."""
        parsed: tuple[tuple[int, ...], bool, Parsed] | None = getattr(self._here, "parsed", None)
        self._here.parsed = None
        # Only if it is of these rows: this thread may have prepared for another source in the meantime.
        if parsed and parsed[:2] == (tuple(prepared.rows), prepared.correct_clocks):
            messages = parsed[2]
        else:
            messages = [result for row in self._messages_by_row(prepared) for result in row]
        return messages[prepared.start : prepared.stop]

    def _messages_by_row(self, prepared: PreparedArchive) -> list[Parsed]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {REQUEST} FROM sources_inbox WHERE id = ANY(%s) ORDER BY id", [prepared.rows])
            requests = _as_requests(cursor.fetchall())
        if len(requests) != len(prepared.rows):
            raise Overtaken(f"the requests of inbox rows {prepared.rows[0]} … are gone")
        return [list(_parse(request, prepared.correct_clocks)) for request in requests]


STAGE = Archive()


def waiting(now: datetime) -> list[int]:
    """Sources with requests that no batch was prepared from, or with a batch that is unfinished."""
    # EXISTS costs one probe of the partial index per source; DISTINCT would read every waiting row.
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id FROM sources_source s
               WHERE EXISTS (SELECT FROM sources_inbox i WHERE i.source_id = s.id AND NOT i.taken)"""
        )
        fresh = [id for (id,) in cursor.fetchall()]
    return sorted({*fresh, *unfinished(ARCHIVE)})


# --- pure


def _parse(request: spec.Request, correct_clocks: bool) -> Iterator[tuple[Result, Receipt]]:
    receipt = Receipt(request.inbox, request.received_at, request.call)
    return ((result, receipt) for result in spec.parse(request, correct_clocks=correct_clocks))


def _archived(prepared: PreparedArchive, parsed: Parsed) -> list[tuple[spec.Message, Receipt]]:
    dropped = {*prepared.doubled, *prepared.suppressed}
    return [
        (result, receipt)
        for place, (result, receipt) in enumerate(parsed, prepared.start)
        if isinstance(result, spec.Message) and place not in dropped
    ]


def _outcome(prepared: PreparedArchive, parsed: Parsed, archived: list[spec.Message]) -> Outcome:
    places = set(prepared.suppressed)
    suppressed = [result for place, (result, _) in enumerate(parsed, prepared.start) if place in places]
    rejected = [
        (result, receipt)
        for place, (result, receipt) in enumerate(parsed, prepared.start)
        if isinstance(result, spec.Rejected) and place not in places
    ]
    return Outcome(
        archived=archived,
        doubled=len(parsed) - len(archived) - len(rejected) - len(suppressed),
        rejected=[
            (reject, receipt)
            for receipt, of_request in groupby(rejected, key=lambda pair: pair[1])
            for reject in spec.grouped(reject for reject, _ in of_request)
        ],
        # A reject may stand for several messages: as they would have been counted.
        suppressed=sum(result.messages if isinstance(result, spec.Rejected) else 1 for result in suppressed),
        last_received_at=max((receipt.at for _, receipt in parsed), default=0),
    )


def _hash(message_id: str) -> str:
    return hashlib.blake2b(message_id.encode(), digest_size=16).hexdigest()


# --- PostgreSQL


REQUEST = (
    "id, call, body, length, (extract(epoch FROM date_trunc('milliseconds', received_at)) * 1000)::bigint, refused"
)


def _as_requests(rows: Sequence[tuple[int, str, memoryview, int | None, int, str]]) -> list[spec.Request]:
    return [spec.Request(id, call, unpack(body, length), at, refused) for id, call, body, length, at, refused in rows]


def _close(ids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sources_inbox WHERE id = ANY(%s)", [ids])


def _keep_seen(log: Log, hashes: list[str]) -> set[str]:
    """Which of these hashes of message ids were not seen in any week that is kept; from now on all are."""
    if not hashes:
        return set()
    # PostgreSQL has no uniqueness over the weeks' tables. None is needed: Prepare holds the row of the source's log,
    # so that nobody else looks and inserts at the same time.
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH old AS MATERIALIZED (
                   SELECT hash FROM sources_seen WHERE source_id = %(source)s AND hash = ANY(%(hashes)s::uuid[])
               )
               INSERT INTO sources_seen (workspace_id, source_id, week, hash)
               SELECT %(workspace)s, %(source)s, date_trunc('week', current_date)::date, hash
               FROM unnest(%(hashes)s::uuid[]) AS sent (hash) WHERE hash NOT IN (SELECT hash FROM old)
               RETURNING replace(hash::text, '-', '')""",
            {"workspace": log.workspace_id, "source": log.partition, "hashes": hashes},
        )
        return {hash for (hash,) in cursor.fetchall()}


def _keep_rejects(log: Log, rejected: Sequence[tuple[spec.Rejected, Receipt]]) -> None:
    rows = (
        Reject(
            workspace_id=log.workspace_id,
            source_id=log.partition,
            received_at=from_milliseconds(receipt.at),
            code=reject.code,
            reason=reject.reason,
            path=reject.path,
            message_id=reject.message_id,
            message=reject.message,
            messages=reject.messages,
            call=receipt.call,
            inbox=receipt.inbox,
            whole=spec.is_whole(reject, receipt.call),
        )
        for reject, receipt in rejected
    )
    Reject.objects.bulk_create(rows, batch_size=500)  # each may be 32 kB long, and comes as one statement's text


def _count_event_names(log: Log, archived: Sequence[spec.Message]) -> None:
    if not archived:  # all of it doubled or rejected, as when a client sends a whole batch again
        return
    counts: Counter[tuple[str, str]] = Counter()
    spans: dict[tuple[str, str], tuple[int, int]] = {}
    for message in archived:
        key = message.type, message.event[:LONGEST_EVENT_NAME]
        counts[key] += 1
        first, last = spans.get(key, (message.ts, message.ts))
        spans[key] = min(first, message.ts), max(last, message.ts)
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sources_eventname AS e
                   (workspace_id, source_id, type, event, archived, first_seen_at, last_seen_at)
               SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[])
               ON CONFLICT (source_id, type, event) DO UPDATE SET
                   archived = e.archived + excluded.archived,
                   first_seen_at = least(e.first_seen_at, excluded.first_seen_at),
                   last_seen_at = greatest(e.last_seen_at, excluded.last_seen_at)""",
            [
                log.workspace_id,
                log.partition,
                [type for type, _ in counts],
                [event for _, event in counts],
                list(counts.values()),
                [from_milliseconds(spans[key][0]) for key in counts],
                [from_milliseconds(spans[key][1]) for key in counts],
            ],
        )


def _count(log: Log, archived: int, doubled: int, rejected: int, suppressed: int, last_received_at: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sources_tally AS t
                   (workspace_id, source_id, archived, doubled, rejected, suppressed, last_received_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (source_id) DO UPDATE SET
                   archived = t.archived + excluded.archived,
                   doubled = t.doubled + excluded.doubled,
                   rejected = t.rejected + excluded.rejected,
                   suppressed = t.suppressed + excluded.suppressed,
                   last_received_at = greatest(t.last_received_at, excluded.last_received_at)""",
            [
                log.workspace_id,
                log.partition,
                archived,
                doubled,
                rejected,
                suppressed,
                from_milliseconds(last_received_at),
            ],
        )
