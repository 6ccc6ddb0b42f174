"""Regulations are carried out, a step at a time; every step can be done again, so a process may die anywhere.

    accepted    what was received before the request is archived, so that it can be found
    people      they are out of the tables of identity; who they were is kept, sealed, for the steps after it
    archive     what sources sent about them, and what of it was refused, is blank
    again       whoever an event brought back on its way is out, too
    others      events of other people that carry an identifier of theirs are known
    events      their rows in ClickHouse are gone
    audiences   are evaluated anew without them
    taken_back  no destination holds them in a list
    forwarded   destinations that can were made to forget them
    deliveries  what is kept of calls about them is gone

A quarter of an hour later everything is looked at again: a statement that was on its way may have written meanwhile.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models import Q, QuerySet
from pyroaring import BitMap

from destinations import erasure as destinations
from destinations.models import Destination
from destinations.rules.contract import Address
from identity import erasure as identity
from identity.erasure import KnownPeople
from privacy import stores
from privacy.models import Regulation
from sources.events.people import ANY_TIME
from sources.events.sql import moment, sql
from sources.models import Inbox
from spaces.clock import Clock
from spaces.models import Space
from spaces.secrets import open_sealed, seal

logger = logging.getLogger(__name__)

CHECKED_AFTER = timedelta(minutes=15)  # a statement of ClickHouse takes ten at most (sources.events.client)
SOON, LATER = timedelta(seconds=2), timedelta(minutes=1)  # until a step is tried again that waits, or that failed
TOLD_WITHIN = timedelta(days=30)  # so long a destination that does not answer is waited for
State = Regulation.State


class SpaceWork(msgspec.Struct):
    """Who they are in one space, as `identity.erasure.KnownPeople`. places, others: as `stores.of_others` has them."""

    numbers: list[int] = []
    identifiers: list[tuple[int, str, str]] = []
    linked: list[int] = []
    places: list[tuple[int, int, int]] = []
    others: list[int] = []

    @property
    def known(self) -> KnownPeople:
        return KnownPeople(BitMap(self.numbers), [*self.identifiers], BitMap(self.linked))

    def add(self, people: KnownPeople) -> None:
        known = self.known
        known.add(people)
        self.numbers, self.identifiers, self.linked = [*known.numbers], known.identifiers, [*known.linked]


class RegulationWork(msgspec.Struct):
    """Whom a regulation is about. By the keys of spaces, as text since it is JSON; by those of destinations, whom to
    forget and how many of them are forgotten."""

    subjects: list[tuple[str, str]]
    spaces: dict[str, SpaceWork] = {}
    forwards: dict[str, list[Address]] = {}
    forwarded: dict[str, int] = {}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every identifier that is known of them anywhere."""
        held = (pair for space in self.spaces.values() for pair in space.known.pairs)
        return [*dict.fromkeys([*self.subjects, *held])]


def sealed(work: RegulationWork) -> bytes:
    return seal(msgspec.to_builtins(work))


def due(now: datetime) -> list[int]:
    """The primary keys of the regulations that `advance` has work for."""
    return list(_due(now).values_list("pk", flat=True))


def _due(now: datetime) -> "QuerySet[Regulation]":
    is_time = Q(next_at=None) | Q(next_at__lte=now)
    return Regulation.objects.filter(is_time, state__in=(State.INITIALIZED, State.RUNNING, State.CHECKING))


def advance(pk: int, clock: Clock) -> bool:
    """One more step is done. False when it is not due, or waits for something."""
    regulation = _due(clock.now()).filter(pk=pk).first()
    if regulation is None:
        return False
    job = _Job(regulation, clock)
    name = "check" if regulation.state == State.CHECKING else STEPS[regulation.steps_done]
    try:
        done = getattr(job, name)()
    except Exception as error:
        # Without its words: what a store says of a statement may quote the very person.
        Regulation.objects.filter(pk=pk).update(error=type(error).__name__, next_at=clock.now() + LATER)
        logger.error("regulation %s: %s: %s", regulation.public_id, name, type(error).__name__)
        return False
    regulation.error, regulation.next_at = "", None
    if not done:
        # At first it waits for what takes seconds, such as the inbox; later for what takes hours: a tool that is away.
        regulation.next_at = clock.now() + (SOON if clock.now() < regulation.requested_at + LATER else LATER)
        regulation.state = State.RUNNING
    elif name == "check":
        job.finish()
    else:
        regulation.steps_done += 1
        regulation.state = State.RUNNING
        if regulation.steps_done == len(STEPS):
            regulation.state, regulation.erased_at = State.CHECKING, clock.now()
            regulation.next_at = clock.now() + CHECKED_AFTER
    regulation.step = STEPS[regulation.steps_done] if regulation.steps_done < len(STEPS) else ""
    job.save()
    return bool(done)


STEPS = (
    "accepted",
    "people",
    "archive",
    "again",
    "others",
    "events",
    "audiences",
    "taken_back",
    "forwarded",
    "deliveries",
)


class _Job:
    """One turn of a regulation. Each step returns whether it is done."""

    def __init__(self, regulation: Regulation, clock: Clock) -> None:
        self.regulation, self.clock = regulation, clock
        self.work = msgspec.convert(open_sealed(regulation.sealed or b""), RegulationWork)
        self.tables: dict[str, dict[str, int]] = regulation.report.setdefault("tables", {})

    def save(self) -> None:
        """What is known of them so far is sealed again; once all is done it is forgotten."""
        is_done = self.regulation.finished_at is not None
        self.regulation.sealed = None if is_done else sealed(self.work)
        self.regulation.save()

    @property
    def spaces(self) -> list[Space]:
        of_workspace = Space.objects.filter(workspace=self.regulation.workspace_id).order_by("pk")
        return list(of_workspace.filter(pk=self.regulation.space_id) if self.regulation.space_id else of_workspace)

    def each(self) -> Iterator[tuple[Space, SpaceWork]]:
        for space in self.spaces:
            yield space, self.work.spaces.setdefault(str(space.pk), SpaceWork())

    def note(self, table: str, erased: int) -> None:
        counts = self.tables.setdefault(table, {"erased": 0, "left": 0})
        counts["erased"] += erased

    def erase(self, each: Iterator[stores.Store]) -> None:
        for store in each:
            self.note(store.table, store.erase())

    # The steps, in their order

    def accepted(self) -> bool:
        waiting = Inbox.objects.filter(workspace=self.regulation.workspace_id)
        return not waiting.filter(received_at__lte=self.regulation.requested_at).exists()

    def people(self) -> bool:
        # A space whose log waits is tried again; those before it are erased once more, which finds nobody.
        return all(self._people_of(space, theirs) for space, theirs in self.each())

    def _people_of(self, space: Space, theirs: SpaceWork) -> bool:
        def keep(people: KnownPeople, erased: dict[str, int]) -> None:
            """In the transaction in which they go: whom it forgot, nobody could erase from the other stores."""
            theirs.add(people)
            for table, rows in erased.items():
                self.note(table, rows)
            self.save()

        # Not by what another space takes for theirs: where its rules made one of two people, both would go everywhere.
        pairs = [*dict.fromkeys([*self.work.subjects, *theirs.known.pairs])]
        return identity.erase_people(space, pairs, BitMap(theirs.numbers), clock=self.clock, keep=keep)

    def archive(self) -> bool:
        # Blank before people are looked for again: what resolve reads from here on says nothing of them.
        if self.regulation.space_id is None:  # other spaces of the workspace read it as well
            self.erase(stores.archive(self.regulation.workspace_id, self.work.pairs))
        return True

    def again(self) -> bool:
        return self.people()

    def others(self) -> bool:
        # Before the rows go, since they alone tell whose events these are; kept, since a second turn would not see
        # them.
        for space, theirs in self.each():
            places, others = stores.of_others(space, theirs.known)
            theirs.places = [*dict.fromkeys([*theirs.places, *places])]
            theirs.others = [*(BitMap(theirs.others) | others)]
        return True

    def events(self) -> bool:
        for space, theirs in self.each():
            # PostgreSQL first: whether a trait came with such an event is told by its place, which the rows still have.
            identity.forget_traits(space, BitMap(theirs.others), theirs.places)
            self.erase(stores.events(space, theirs.known, theirs.places))
        return True

    def audiences(self) -> bool:
        def tell(space: Space, theirs: SpaceWork) -> bool:
            told = BitMap([*theirs.numbers, *theirs.linked, *theirs.others])
            return not told or identity.tell_of(space, told, clock=self.clock)

        return all(tell(space, theirs) for space, theirs in self.each())

    def taken_back(self) -> bool:
        """No list holds them. Who is switched off, or silent for a month, is named in the report instead."""
        names: dict[str, dict[str, Any]] = self.regulation.report.setdefault("destinations", {})
        is_late = self.clock.now() > self.regulation.requested_at + TOLD_WITHIN
        rows = [
            destinations.acknowledged_of(
                space, BitMap([number for number, _, _ in theirs.identifiers]), BitMap(theirs.numbers)
            )
            for space, theirs in self.each()
        ]
        # Once: a destination that is connected from here on has never been told of them.
        if not self.regulation.report.get("asked_back"):
            for of_space in rows:
                destinations.take_back(of_space)
                for told in destinations.told(of_space):
                    self._will_tell(told, names)
            self.regulation.report["asked_back"] = True
        # Asked anew each time: one that failed for a week may have been mended since.
        for entry in names.values():
            entry["taken"] = True
        # Passes of sync do the telling, at the destination's own pace; here it is only looked at.
        waiting = [row for of_space in rows for row in destinations.not_yet_out(of_space)]
        for row in waiting:
            if row.subscription.destination.public_id in names:
                names[row.subscription.destination.public_id]["taken"] = False
        return is_late or not any(
            row.subscription.deleted_at is None
            and row.subscription.sends
            and row.subscription.destination.deleted_at is None
            for row in waiting
        )

    def _will_tell(self, told: destinations.ToldDestination, names: dict[str, dict[str, Any]]) -> None:
        destination, can = told.destination, destinations.can_delete(told.destination)
        is_here = destinations.is_kept_here(destination)
        names[destination.public_id] = {
            "name": destination.name,
            "kind": destination.kind,
            "here": is_here,
            "can": can,
        }
        if self.regulation.what.forwards and can:
            self.work.forwards[str(destination.pk)] = [*told.addresses]

    def forwarded(self) -> bool:
        names = self.regulation.report["destinations"]
        waits = False
        for pk, addresses in self.work.forwards.items():
            destination = Destination.objects.select_related("space").filter(pk=pk).first()
            if destination is None:
                continue  # it was deleted meanwhile
            entry, done = names[destination.public_id], self.work.forwarded.get(pk, 0)
            if not destination.enabled:
                entry["why"] = "It is switched off."
            elif done < len(addresses):
                # From where the last turn came to: a tool that allows few calls takes many turns.
                more, entry["why"] = destinations.forward(destination, addresses[done:], now=self.clock.now())
                self.work.forwarded[pk] = done = done + more
                waits |= done < len(addresses)
            entry["forgotten"] = done == len(addresses)
        return not waits or self.clock.now() > self.regulation.requested_at + TOLD_WITHIN

    def deliveries(self) -> bool:
        for space, theirs in self.each():
            self.erase(stores.after_destinations(space, theirs.known))
            self.erase(stores.texts(space, theirs.known))
        return True

    # Afterwards

    def check(self) -> bool:
        """What came late is erased as well; then each store is asked how much is left."""
        regulation = self.regulation
        # Without suppression, what they did since is as it should be: only what is older is looked for.
        until = ANY_TIME if regulation.what.suppresses else sql("received_at <= %s", moment(regulation.requested_at))
        left: dict[str, int] = dict.fromkeys(self.tables, 0)
        for space, theirs in self.each():
            known = theirs.known
            for each in (
                stores.events(space, known, theirs.places),
                stores.after_destinations(space, known),
                stores.texts(space, known),
            ):
                self._look_again(each, left)
            # A profile that came to be since is somebody new, though it has the same identifiers.
            if not regulation.what.suppresses:
                known.identifiers = []
            for table, rows in identity.count(space.pk, known).items():
                left[table] = left.get(table, 0) + rows
        if regulation.space_id is None:
            self._look_again(stores.archive(regulation.workspace_id, self.work.pairs, until), left)
        for table, rows in left.items():
            self.tables.setdefault(table, {"erased": 0, "left": 0})["left"] = rows
        return True

    def _look_again(self, each: Iterator[stores.Store], left: dict[str, int]) -> None:
        for store in each:
            self.note(store.table, store.erase())
            left[store.table] = left.get(store.table, 0) + store.count()

    def finish(self) -> None:
        """Done, and nobody is named any more."""
        report = self.regulation.report
        report["profiles"] = sum(len(theirs.numbers) for theirs in self.work.spaces.values())
        report["identifiers"] = len(self.work.pairs)
        whole = not any(counts["left"] for counts in self.tables.values())
        # As in the original, one destination that was not told makes the whole of it partial.
        for entry in report.get("destinations", {}).values():
            whole &= entry["taken"]
            whole &= not self.regulation.what.forwards or entry["here"] or entry.get("forgotten", False)
        self.regulation.state = State.FINISHED if whole else State.PARTIAL_SUCCESS
        self.regulation.finished_at = self.clock.now()
