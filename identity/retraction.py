"""Everything that a space made of one source's events is taken back, some people at a time, as if they had never come.

They are resolved once more from their other events by the rules of today (identity.splits), so that identifiers,
merges, refusals and traits become what they would be. Whoever exists by these events alone goes. Rows in ClickHouse are
written anew only for people of whom something but their traits is other than before; of all others the source's own
rows are deleted at the end (`erase_rows`), and what is left is right.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy
import pyarrow
import pyarrow.compute
from pyroaring import BitMap

from identity import graph_store, history, splits
from identity.erasure import OneBatch, advanced
from identity.models import ChangeSet, Evidence, Identifier, Link, Merge, Profile, ProfileNote
from identity.people_again import PeopleIntake
from identity.prepared import PreparedAgain, PreparedResolve, Taken
from identity.queries import canonical
from identity.resolve import BatchKind, Intake
from identity.rules import event_rows
from identity.rules.graph import KNOWN_TYPES
from identity.rules.policy import policy_of
from identity.rules.resolution import event_batch
from identity.rules.splits import SplitIndex
from identity.splits import Component, Resolved, identifiers_of
from sources.consumption import places
from sources.events import client, timeline
from sources.events.schema import PROFILES
from sources.events.sql import sql
from sources.models import Connection, Inbox
from spaces.batches import unfinished
from spaces.chunks import chunks
from spaces.clock import Clock
from spaces.models import Log, Replaced, Space
from spaces.times import from_milliseconds

AT_ONCE = 1_000  # people of one batch, when nobody of them has much
MOST_MOVED = 20_000  # numbers whose rows wait to be deleted: each is in the text of every statement about the space
ROWS_AT_ONCE = 50_000  # numbers in one DELETE


def drained(space: Space, source_id: int) -> bool:
    """Whether the space has resolved everything that the source sent."""
    if Inbox.objects.filter(source=source_id).exists() or source_id in unfinished("archive"):
        return False
    heard = Connection.objects.filter(space=space, source=source_id).exclude(state=Connection.State.DISCONNECTED)
    connections = list(heard)
    return space.pk not in unfinished("resolve") and not any(place.has_more for place in places(connections))


def people_of_source(space: Space, source_id: int) -> BitMap:
    """Numbers of the profiles that have events of the source, as of the moment of each event."""
    return timeline.profiles_of_source(history.scope_of(space), source_id)


def crowded(space: Space) -> bool:
    """Whether so many rows wait to be deleted that no more are to be written anew before an hour has passed."""
    rows = Replaced.objects.filter(log__stage="resolve", log__partition=space.pk).values_list("keys", flat=True)
    return sum(map(len, rows)) > MOST_MOVED


def retract(
    space: Space, source_id: int, numbers: BitMap, *, clock: Clock, keep: Callable[[BitMap, BitMap], None]
) -> bool:
    """These people are as if the source had sent nothing. keep(done, gone): in the same transaction.

    done: whom it was about, these and others; gone: the numbers of which no profile is left. False when the log waits,
    as after a failure: try again. Raises TooMuch when more belongs together than is resolved once more at a time.
    """
    return advanced(space, OneBatch(clock, _Retract(source_id, numbers, keep)))


def erase_rows(space: Space, source_id: int, gone: BitMap) -> None:
    """No row of the source is left of the space, and none that says of these numbers that they are profiles."""
    # They may be read until here: so audiences change once, when they are told of everybody (`tell_of`).
    timeline.erase_source(space.workspace_id, space.pk, source_id)
    for part in chunks(gone, ROWS_AT_ONCE):
        mine = sql("workspace = %s AND space = %s AND profile IN %s", space.workspace_id, space.pk, list(part))
        client.run(sql(f"DELETE FROM {PROFILES.name} WHERE %s", mine))


class _Retract(BatchKind):
    """One batch of the resolve log, about these people."""

    def __init__(self, source_id: int, numbers: BitMap, keep: Callable[[BitMap, BitMap], None]) -> None:
        super().__init__()
        self._source, self._numbers, self._keep = source_id, numbers, keep

    def next(self, log: Log, space: Space, limit: int) -> Intake:
        by = splits.rules_now(space, splits.Cause(without=self._source))
        # With whoever shares an identifier that was refused: without the source it may be theirs.
        concerned = splits.read(by, splits.reach(space, self._numbers))
        return PeopleIntake(self, space, Taken(), concerned.rows, concerned)

    def prepare(self, log: Log, intake: PeopleIntake, number: int) -> PreparedResolve:
        concerned, space = intake.component, intake.space
        assert concerned is not None
        # Of no events: for the counters alone, which it holds until the transaction ends.
        graph = graph_store.load(space, [], policy_of(space.identity_policy), SplitIndex())
        before = canonical(space, concerned.numbers)
        known = BitMap(
            Identifier.objects.filter(space=space, profile__in=[*concerned.numbers], type__in=KNOWN_TYPES).values_list(
                "profile", flat=True
            )
        )
        concerned = replace(concerned, evidence=[*_kept_evidence(concerned), *_old_identifiers(concerned)])
        again = splits.resolve_again(concerned, graph.last_profile, graph.last_identifier)
        # Before it is known who is gone: a number that leads elsewhere is not.
        _follow(again, before)
        gone = concerned.numbers - BitMap(again.graph.created) - BitMap(again.homes)
        # Before the record, since it compares with what is kept from before.
        _correct_evidence(again)
        written = splits.record(again, number)
        for model, columns in (
            (Merge, ("loser", "winner")),
            (Link, ("user",)),
            (ProfileNote, ("number",)),
            (Profile, ("number",)),
        ):
            for column in columns:
                model._base_manager.filter(space=space, **{f"{column}__in": [*gone]}).delete()
        # In this transaction, so that a death leaves either both or none.
        self._keep(concerned.numbers | BitMap(written.created), gone)
        moved = _moved(again, before, known)
        # Nobody's rows change their owner: those of the source are deleted at the end, and the rest is right.
        if not moved:
            return PreparedResolve(intake.taken)
        return self._moving(log, intake, again, written, moved)

    def _moving(
        self, log: Log, intake: Intake, again: Resolved, written: graph_store.Written, moved: BitMap
    ) -> PreparedResolve:
        """Of the people of whom more than traits is other than before all rows are written anew."""
        concerned = again.component
        theirs = numpy.isin(concerned.rows["profile"].to_numpy(), moved.to_array())
        own = replace(
            concerned,
            numbers=moved,
            rows=concerned.rows.filter(pyarrow.array(theirs)),
            traits=concerned.traits.filter(
                pyarrow.array(numpy.isin(concerned.traits["profile"].to_numpy(), moved.to_array()))
            ),
        )
        profiles = numpy.array(again.resolution.profiles[again.skipped :], "<u4")[theirs]
        Replaced.objects.create(workspace_id=log.workspace_id, log=log, keys=[*moved])
        return PreparedResolve(
            intake.taken,
            stop=len(profiles),
            profiles=profiles.tobytes(),
            aliases=event_rows.pack(pair for pair in written.aliases if pair[0] in moved),
            people=event_rows.pack(row for row in written.people if row[0] in moved),
            links=event_rows.pack(link for link in written.links if link[0] in moved),
            change_sets={ChangeSet.MERGED: moved.serialize()},
            policy=intake.space.identity_policy,
            again=PreparedAgain(
                0,
                [*moved],
                again.homes,
                own.places,
                without=self._source,
                accounts=[*concerned.accounts.values()],
            ),
        )


def _kept_evidence(concerned: Component) -> Iterator[Evidence]:
    """The sets of identifiers that somebody else has seen as well; where the source was first, from its last sight."""
    for row in concerned.evidence:
        if row.first_source_id != concerned.by.cause.without:
            yield row
        elif row.last_source_id != concerned.by.cause.without:
            row.first_seen_at, row.first_source_id = row.last_seen_at, row.last_source_id
            row.first_message_id = row.last_message_id
            yield row


def _old_identifiers(concerned: Component) -> Iterator[Evidence]:
    """Of whom nothing is kept any more but identifiers that did not come by the source: these still belong together."""
    events = event_batch(concerned.rows, policy_of(concerned.by.space.identity_policy)).events
    seen = {identifier for event in events for identifier in event.user}
    seen |= {identifier for row in _kept_evidence(concerned) for identifier in identifiers_of(row)}
    rows = Identifier.objects.filter(space=concerned.by.space, profile__in=[*concerned.numbers])
    first: dict[int, tuple[str, str]] = {}
    for row in rows.exclude(source=concerned.by.cause.without).order_by("number"):
        identifier = (row.type, row.value)
        joined = first.setdefault(row.profile, identifier)
        if identifier not in seen:
            yield Evidence(
                identifiers=[[*one] for one in dict.fromkeys((joined, identifier))],
                refused=[],
                profile=row.profile,
                first_seen_at=row.first_seen_at,
                first_source_id=row.source_id,
                first_message_id=row.message_id,
            )


def _follow(again: Resolved, before: dict[int, int]) -> None:
    """Who was merged into somebody and has no event of their own any more still leads to where that one is."""
    alive = again.graph.created.keys()
    winners = again.graph.winners()
    for number in again.component.numbers - BitMap(alive) - BitMap(again.homes):
        winner = before[number]
        if winner in again.homes:
            again.homes[number] = again.homes[winner]
        elif winner in alive:
            again.homes[number] = winners.get(winner, winner)


def _moved(again: Resolved, before: dict[int, int], known: BitMap) -> BitMap:
    """All numbers of those whose rows ClickHouse has under another profile than they are of now, or who is known now
    and was not, or the other way round."""
    winners, nodes = again.graph.winners(), again.graph.alive()
    others = BitMap()
    numbers = again.component.rows["profile"].to_pylist()
    for number, profile in zip(numbers, again.resolution.profiles[again.skipped :], strict=True):
        now = winners.get(profile, profile)
        if now != before[number]:
            others.add(before[number])
    for number in again.component.traits["profile"].to_pylist():
        if again.homes.get(number, number) != before[number]:
            others.add(before[number])
    for number, node in nodes.items():
        if number in before and node.is_known != (number in known):
            others.add(number)
    fresh = BitMap(again.graph.created) - again.component.numbers
    return BitMap(number for number, winner in before.items() if winner in others) | fresh


def _correct_evidence(again: Resolved) -> None:
    """What is kept of each set of identifiers is what the others have seen of it."""
    concerned, batch = again.component, again.batch
    taken = _events_of(concerned)
    nobodys, others = [], []
    for row in Evidence.objects.filter(space=concerned.by.space, profile__in=[*concerned.numbers]):
        identifiers = identifiers_of(row)
        seen = again.graph.seen_sets.get(identifiers)
        if seen is None:
            nobodys.append(row.pk)  # nobody else has seen it
        elif taken[identifiers]:
            row.events = max(row.events - taken[identifiers], 0)
            for end, index in (("first", seen.first_index), ("last", seen.last_index)):
                if getattr(row, f"{end}_source_id") == concerned.by.cause.without:
                    setattr(row, f"{end}_seen_at", from_milliseconds(batch.times[index]))
                    setattr(row, f"{end}_source_id", batch.sources[index] or None)
                    setattr(row, f"{end}_message_id", batch.ids[index])
            others.append(row)
    Evidence.objects.filter(pk__in=nobodys).delete()
    ends = [f"{end}_{what}" for end in ("first", "last") for what in ("seen_at", "source", "message_id")]
    Evidence.objects.bulk_update(others, ["events", *ends])


def _events_of(concerned: Component) -> Counter[tuple[tuple[str, str], ...]]:
    """How many events of the source had each set of identifiers."""
    rows = timeline.component(history.scope_of(concerned.by.space), [*concerned.numbers], most=splits.MOST_EVENTS)
    rows = rows.filter(pyarrow.compute.equal(rows["source"], concerned.by.cause.without))
    events = event_batch(rows, policy_of(concerned.by.space.identity_policy)).events
    return Counter(event.user for event in events)
