"""Rejects of a space that somebody asked to be resolved again, as batches of the resolve log."""

import pyarrow

from identity import graph_store
from identity.prepared import PreparedResolve, Taken, taken
from identity.resolve import ArchivedEvents, Intake
from sources.events import archive_table
from sources.models import Reject
from spaces.models import Log, Space


class RejectsAgain(ArchivedEvents):
    def owns(self, prepared: PreparedResolve) -> bool:
        return bool(prepared.taken.rejects)

    def next(self, log: Log, space: Space, limit: int) -> Intake | None:
        asked = Reject.objects.filter(space=space, again=True, source__deleted_at=None).order_by("id")[:limit]
        places = [(reject.source_id, reject.piece or 0, reject.position or 0) for reject in asked]
        if not places:
            return None
        rows = archive_table.read_rows(space.workspace_id, places)
        archived = list(zip(*(rows[name].to_pylist() for name in ("source", "piece", "position")), strict=True))
        # The archive forgot it: nobody can resolve it any more, and as a reject to be resolved it would be asked for
        # again and again.
        for source, piece, position in set(places) - set(archived):
            Reject.objects.filter(space=space, source=source, piece=piece, position=position).delete()
        return Intake(self, space, taken(rows, rejects=archived), rows) if archived else None

    def take(self, log: Log, taken: Taken) -> None:
        graph_store.take_again(log.partition, taken.rejects)

    def read_taken(self, log: Log, taken: Taken) -> pyarrow.Table:
        return archive_table.read_rows(log.workspace_id, taken.rejects)
