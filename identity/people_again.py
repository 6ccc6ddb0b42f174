"""People who are resolved once more, as batches of the resolve log: because of a split, or of rules that are applied.

What it comes to is worked out in `identity.splits`. A batch changes places with what was there when it commits.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy
import pyarrow
from django.db import transaction
from pyroaring import BitMap

from identity import graph_store, rule_changes, splits
from identity.graph_store import NO_IDENTIFIERS
from identity.models import ChangeSet, ProfileSplit
from identity.prepared import PreparedAgain, PreparedResolve, Taken
from identity.resolve import UNUSABLE, ArchivedEvents, Intake, changed, tables_of
from identity.rules import event_rows
from identity.rules.splits import SplitIndex
from identity.splits import Component
from sources.events import archive_table
from sources.events.schema import TRAITS, Table
from spaces.clock import Clock
from spaces.errors import is_ours
from spaces.models import Log, Replaced, Space

logger = logging.getLogger(__name__)


@dataclass
class PeopleIntake(Intake):
    """rows: their events."""

    component: Component | None = None


class PeopleAgain(ArchivedEvents):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def owns(self, prepared: PreparedResolve) -> bool:
        return prepared.again is not None

    def next(self, log: Log, space: Space, limit: int) -> Intake | None:
        now = self.clock.now()
        component = splits.next_wish(space, now) or rule_changes.next_part(space, now)
        return PeopleIntake(self, space, Taken(), component.rows, component) if component else None

    def prepare(self, log: Log, intake: Any, number: int) -> PreparedResolve:
        space, component = intake.space, intake.component
        cause = component.by.cause
        try:
            with transaction.atomic():
                # Of no events: for the counters alone, which it holds until the transaction ends.
                graph = graph_store.load(space, [], component.by.policy, SplitIndex())
                again = splits.resolve_again(component, graph.last_profile, graph.last_identifier)
                written = splits.record(again, number)
                if cause.dry_run:  # events on which the rules that are applied find no identifier
                    places = splits.places_of(component.rows)
                    indexes = (index - again.skipped for index in again.resolution.refused)
                    rows = archive_table.read_rows(
                        space.workspace_id, [places[index] for index in indexes if index >= 0]
                    )
                    graph_store.reject(space.pk, rows, code=NO_IDENTIFIERS, reason=UNUSABLE)
        except Exception as error:
            if not is_ours(error):  # a store is away: it is tried again
                raise
            # The wish of one person, who is told: it stops nobody's events.
            logger.exception("%s of space %s failed", cause, space.pk)
            why = f"{type(error).__name__}: {error}"
            if cause.dry_run:
                rule_changes.stopped(cause.dry_run, why, self.clock.now())
            else:
                splits.failed(ProfileSplit.objects.get(pk=cause.split), why, self.clock.now())
            return PreparedResolve(intake.taken)
        everyone = component.numbers | BitMap(written.created)
        # Without a number it hides nothing yet; but who reads PostgreSQL knows that these people are on the move.
        Replaced.objects.create(workspace_id=log.workspace_id, log=log, keys=[*everyone])
        change_sets = changed(again.batch, again.resolution, written)
        # By all numbers, also those that are no more: whoever was a member by one of them is looked at.
        change_sets[ChangeSet.MERGED] = everyone.serialize()
        if component.accounts:
            change_sets[ChangeSet.LINKED] = (everyone | BitMap(component.accounts.values())).serialize()
        prepared = PreparedResolve(
            intake.taken,
            stop=len(again.events),
            profiles=numpy.array(again.resolution.profiles[again.skipped :], "<u4").tobytes(),
            aliases=event_rows.pack(written.aliases),
            people=event_rows.pack(written.people),
            links=event_rows.pack(written.links),
            change_sets=change_sets,
            policy=space.identity_policy,
            again=PreparedAgain(
                cause.split,
                [*component.numbers],
                again.homes,
                component.places,
                dry_run=cause.dry_run,
                accounts=[*component.accounts.values()],
            ),
        )
        self.remember(prepared, component.rows, again, component)
        return prepared

    def tables(self, log: Log, prepared: PreparedResolve, number: int) -> dict[Table, pyarrow.Table]:
        again = prepared.again
        assert again is not None
        tables = tables_of(self.resolved_rows(log, prepared), again.accounts) if prepared.part else {}
        if prepared.whole:
            kept = event_rows.kept_traits(self._component(log, prepared).traits, again.homes)
            tables[TRAITS] = pyarrow.concat_tables([kept, *filter(None, [tables.get(TRAITS)])])
        return tables

    def read_again(self, log: Log, prepared: PreparedResolve) -> tuple[pyarrow.Table, numpy.ndarray]:
        assert prepared.again is not None
        return self._component(log, prepared).rows_at(prepared.again.places)

    def archived(self, log: Log, prepared: PreparedResolve) -> pyarrow.Table:
        assert prepared.again is not None
        places = numpy.frombuffer(prepared.again.places, "<u8").reshape(-1, 3)[prepared.start : prepared.stop]
        return archive_table.read_rows(log.workspace_id, [tuple(place) for place in places.tolist()])

    def _component(self, log: Log, prepared: PreparedResolve) -> Component:
        if read := self.remembered(prepared):
            component: Component = read[-1]
            return component
        again = prepared.again
        assert again is not None
        # Only its rows are asked for now, so it does not matter by which rules it was resolved.
        cause = splits.Cause(again.split, again.dry_run, again.without)
        by = splits.rules_now(Space.everything.get(pk=log.partition), cause)
        return splits.read(by, BitMap(again.numbers))

    def commit(self, log: Log, prepared: PreparedResolve, number: int) -> None:
        # Only now older rows are hidden: in the same moment the new ones can be read.
        log.replaced.filter(number=None).update(number=number)
        again = prepared.again
        if again and prepared.whole:
            came_true = rule_changes.came_true if again.dry_run else splits.came_true
            came_true(again.dry_run or again.split, self.clock.now())
