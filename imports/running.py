"""Imports are checked, run and undone, a part at a time; every part can be begun again, so a process may die anywhere.

What a part comes to and the place where the next begins are committed together. Rows are sent as identify calls into
the inbox of the import's source: from there on they are events like all others (docs/decisions/0026).
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.crypto import salted_hmac
from pyroaring import BitMap

from access.services import COMMAND
from identity import retraction
from identity.erasure import tell_of
from identity.queries import holder_numbers
from identity.splits import TooMuch
from imports import queries
from imports.models import ImportProblem, ProfileImport, bitmap_of
from imports.rules.rows import DIRECT, Checked, GoodRow, identify
from sources import services as sources
from sources.inbox import InboxFull, Sender, keep
from sources.models import Connection
from spaces.chunks import chunks
from spaces.clock import Clock

logger = logging.getLogger(__name__)

AT_A_TIME = 4_000  # rows of a turn
PER_CALL = 500  # messages
KEPT_PROBLEMS = 200  # of an import
SOON, LATER = timedelta(seconds=2), timedelta(minutes=1)  # until it is gone on with, when it waits and when it failed
State = ProfileImport.State


def due(now: datetime) -> list[int]:
    """The primary keys of the imports that `advance` has work for."""
    return list(_due(now).values_list("pk", flat=True))


def _due(now: datetime) -> "QuerySet[ProfileImport]":
    is_time = Q(retry_at=None) | Q(retry_at__lte=now)
    return ProfileImport.objects.filter(is_time, state__in=ProfileImport.AT_WORK, space__deleted_at=None)


def advance(pk: int, clock: Clock) -> bool:
    """One more part is done. False when it is not due, or waits for something."""
    of = _due(clock.now()).filter(pk=pk).select_related("space__workspace", "source").first()
    if of is None:
        return False
    try:
        step = {State.CHECKING: _check, State.RUNNING: _send, State.UNDOING: _undo}[State(of.state)]
        return step(of, clock)
    except InboxFull as full:
        _waits(of, str(full), clock.now() + SOON)
    except TooMuch as error:
        _waits(of, f"{error} It is tried again, with fewer of them.", clock.now() + SOON)
    except Exception as error:
        logger.exception("import %s", of.public_id)
        _waits(of, f"Something of ours broke: {type(error).__name__}. It is tried again.", clock.now() + LATER)
    return False


def _waits(of: ProfileImport, error: str, until: datetime) -> None:
    ProfileImport.objects.filter(pk=of.pk, state=of.state).update(error=error, retry_at=until)


def _check(of: ProfileImport, clock: Clock) -> bool:
    part = queries.checked(of, AT_A_TIME)
    counts = Counter(of.counts) + Counter(good=len(part.good), rejected=part.rejected)
    holders = holder_numbers(of.space, {identifier for row in part.good for identifier in row.identifiers})
    for row in part.good:
        people = {holders[identifier] for identifier in row.identifiers if identifier in holders}
        counts["known" if people else "new"] += 1
        counts["joining"] += len(people) > 1
    rules = Counter(of.rules) + Counter(problem.rule for problem in part.problems)
    with transaction.atomic():
        if not _moves_on(of, part, State.CHECKED, clock, counts=counts, rules=rules):
            return False
        room = KEPT_PROBLEMS - of.problems.count()
        ImportProblem.objects.bulk_create(
            ImportProblem(
                workspace_id=of.workspace_id,
                of=of,
                row=problem.row,
                column=problem.column[:200],
                value=problem.value,
                rule=problem.rule,
                sentence=problem.sentence,
            )
            for problem in part.problems[: max(room, 0)]
        )
    return True


def _send(of: ProfileImport, clock: Clock) -> bool:
    """Raises InboxFull."""
    if of.source is None or of.source.deleted_at is not None:
        # Without its source nobody would hear it, and nothing could be undone.
        gone = {"state": State.CANCELLED, "error": "Its source was deleted.", "ended_at": clock.now()}
        return bool(ProfileImport.objects.filter(pk=of.pk, state=State.RUNNING).update(**gone))
    part = queries.checked(of, AT_A_TIME)
    messages = _messages(of, part.good)
    sent = Counter(of.sent) + Counter(good=len(part.good), rejected=part.rejected)
    sender = Sender(of.source.pk, of.workspace_id, enabled=True)
    with transaction.atomic():
        # First: of two processes with the same part the second waits here, and then sends nothing.
        if not _moves_on(of, part, State.DONE, clock, sent=sent):
            return False
        for some in chunks(messages, PER_CALL):
            keep(sender, call="batch", body=json.dumps({"batch": some}).encode())
    return True


def _messages(of: ProfileImport, rows: Sequence[GoodRow]) -> list[dict[str, object]]:
    nameless = [row for row in rows if not row.message.keys() & DIRECT.values()]
    holders = holder_numbers(of.space, {identifier for row in nameless for identifier in row.identifiers})
    names = queries.callers(of.space, BitMap(holders.values()))
    at = of.event_time or of.created_at
    messages = []
    for row in rows:
        caller: dict[str, str] = {}
        if not row.message.keys() & DIRECT.values():
            known = [names[holders[one]] for one in row.identifiers if holders.get(one) in names]
            # Somebody who is known by no id that a message can be sent with has one of the import's, the same in each.
            # By a key: a bare hash of an e-mail address would tell it to whoever tries addresses.
            value = f"{of.space.pk}:{':'.join(row.identifiers[0])}"
            generated = salted_hmac("imports", value, algorithm="sha256").hexdigest()[:32]
            caller = known[0] if known else {"anonymousId": f"import-{generated}"}
        messages.append(identify(row, caller, of.public_id, at))
    return messages


def _moves_on(of: ProfileImport, part: Checked, end: str, clock: Clock, **counts: Counter[str]) -> bool:
    """It goes on after this part; at the end of the file it is in the state `end`. False when somebody changed it."""
    now = clock.now()
    # What is left at the end may be blank lines, of which no record tells.
    is_over = part.row == of.row
    changes: dict[str, object] = {"position": of.size if is_over else part.end, "row": part.row, **counts}
    if is_over:
        changes |= {"state": end, "changed_at": now} | ({"ended_at": now} if end == State.DONE else {})
    mine = ProfileImport.objects.filter(pk=of.pk, state=of.state, position=of.position, row=of.row)
    return bool(mine.update(**changes, error="", retry_at=None))


def _undo(of: ProfileImport, clock: Clock) -> bool:
    """Raises TooMuch."""
    now, space, source = clock.now(), of.space, of.source
    if source is None:
        raise LookupError("the import's source")
    if not retraction.drained(space, source.pk):
        _waits(of, "", now + SOON)  # what was sent last is being resolved
        return False
    if of.waiting is None:
        people = retraction.people_of_source(space, source.pk)
        with transaction.atomic():
            # A replay would bring everything back.
            heard = Connection.objects.filter(space=space, source=source)
            for connection in heard.exclude(state=Connection.State.DISCONNECTED):
                sources.disconnect(connection, clock, by=COMMAND)
            mine = ProfileImport.objects.filter(pk=of.pk, state=State.UNDOING, waiting=None)
            return bool(mine.update(waiting=people.serialize(), people=len(people)))
    waiting, told, gone = (bitmap_of(kept) for kept in (of.waiting, of.told, of.gone))
    if not waiting:
        return _finish(of, source.pk, told, gone, clock)
    if retraction.crowded(space):
        _waits(of, "Very many people come apart, and their old rows have to go first.", now + LATER)
        return False

    def keep_up(done: BitMap, no_more: BitMap) -> None:
        """In the transaction in which they are resolved once more."""
        # As it is now, and locked: what another process has done meanwhile must not be lost.
        row = ProfileImport.objects.select_for_update().get(pk=of.pk)
        kept = {
            "waiting": bitmap_of(row.waiting) - done,
            "told": bitmap_of(row.told) | done,
            "gone": bitmap_of(row.gone) | no_more,
        }
        ProfileImport.objects.filter(pk=of.pk).update(
            **{name: people.serialize() for name, people in kept.items()}, error="", retry_at=None
        )

    few = retraction.AT_ONCE
    while True:
        try:
            return retraction.retract(space, source.pk, waiting[:few], clock=clock, keep=keep_up)
        except TooMuch:
            if few == 1:
                raise
            # Too much is everybody whom any of them is linked to: fewer are linked to fewer.
            few = max(few // 4, 1)


def _finish(of: ProfileImport, source: int, told: BitMap, gone: BitMap, clock: Clock) -> bool:
    """All are resolved once more: the rows go, audiences hear of it, and with its source its archive goes."""
    # Done again each time that telling has to wait: then nothing is left to be erased.
    retraction.erase_rows(of.space, source, gone)
    if told and not tell_of(of.space, told, clock=clock):
        return False
    with transaction.atomic():
        # Another space may listen to it as well: then it has nothing to do with this undoing.
        heard = Connection.objects.filter(source=source).exclude(state=Connection.State.DISCONNECTED)
        if of.source is not None and not heard.exists():
            sources.delete_source(of.source, by=COMMAND)
        now = clock.now()
        done = {"state": State.UNDONE, "waiting": None, "told": None, "gone": None, "ended_at": now, "changed_at": now}
        ProfileImport.objects.filter(pk=of.pk).update(**done, error="", retry_at=None, people=len(told))
    return True
