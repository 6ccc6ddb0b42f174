"""Regulations, as pages and the API show them."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from privacy.erasing import STEPS
from privacy.models import Regulation
from profiles_sync.models import ProfilesSync
from profiles_sync.stores import all_stores
from sources.events.schema import TABLES
from spaces.models import Space, Workspace

EVENT_TABLES = {table.name for table in TABLES}
LABELS = {
    "accepted": "Archiving what was received before",
    "people": "Profiles and identifiers",
    "archive": "The archive",
    "again": "Profiles and identifiers, once more",
    "others": "Events of other people that name them",
    "events": "Events and traits",
    "audiences": "Telling audiences",
    "taken_back": "Waiting until destinations have taken them out",
    "forwarded": "Making destinations forget them",
    "deliveries": "Deliveries",
}


@dataclass(frozen=True)
class StoreCount:
    """One table of the report. left: what a look afterwards counted; None = that look is still to come."""

    store: str
    table: str
    erased: int
    left: int | None


@dataclass(frozen=True)
class DestinationReport:
    """taken: it holds them in no list. forgotten: it was made to forget them; None = that was not asked for."""

    name: str
    kind: str
    taken: bool
    forgotten: bool | None
    note: str


def regulations_of(workspace: Workspace, space: Space | None = None) -> "QuerySet[Regulation]":
    """Of the workspace, those of its spaces included; or of one space."""
    rows = Regulation.objects.filter(workspace=workspace).select_related("space", "requested_by")
    return rows.filter(space=space) if space else rows


def percent(regulation: Regulation) -> int:
    return 100 * regulation.steps_done // len(STEPS) if regulation.what.erases else 100


def step_of(regulation: Regulation) -> str:
    return LABELS.get(regulation.step, "")


def stores_of(regulation: Regulation) -> list[StoreCount]:
    """By store and table."""
    checked = regulation.finished_at is not None
    counts = [
        StoreCount(
            "ClickHouse" if table in EVENT_TABLES else "PostgreSQL",
            table,
            count["erased"],
            count["left"] if checked else None,
        )
        for table, count in regulation.report.get("tables", {}).items()
    ]
    return sorted(counts, key=lambda count: (count.store, count.table))


def destinations_of(regulation: Regulation) -> list[DestinationReport]:
    """Those that were ever told of them."""
    return [
        _destination(entry, regulation.what.forwards)
        for entry in sorted(regulation.report.get("destinations", {}).values(), key=lambda entry: entry["name"])
    ]


def _destination(entry: dict[str, Any], forwards: bool) -> DestinationReport:
    if entry["here"]:
        note = "Keeps what it is sent in this installation, where it was erased."
    elif not forwards:
        note = "It was told that they left. Forgetting them was not asked for."
    elif not entry["can"]:
        note = "Not forwarded: this kind of destination cannot be told to forget people. Do it there."
    else:
        note = entry.get("why", "")
    forgotten = entry.get("forgotten", False) if forwards and not entry["here"] else None
    return DestinationReport(entry["name"], entry["kind"], entry.get("taken", False), forgotten, note)


def unreachable(regulation: Regulation) -> list[str]:
    """What no job can reach, and must be seen to by people."""
    if not regulation.what.erases:
        return []
    end = regulation.finished_at or regulation.erased_at
    until = f"{end:%-d %B %Y, %H:%M} UTC" if end else "the end of this request"
    places = [
        f"Backups made before {until} still hold them. Let them expire, and repeat the request after restoring one.",
        "Files of ClickHouse let go of erased rows within about an hour, those of PostgreSQL after its next vacuum.",
        "Mails and chat messages that alerts sent, and files that were downloaded.",
        "Files of imports that were under way: they go some time after these have ended. All others went.",
        "What people wrote themselves: names and definitions of audiences, test cases, queries of SQL traits.",
        "Files that were sent to destinations such as S3 and SFTP.",
    ]
    syncs = ProfilesSync.objects.filter(workspace=regulation.workspace_id, space__deleted_at=None).order_by("pk")
    for sync in syncs.filter(space=regulation.space_id) if regulation.space_id else syncs:
        when = "takes them out in its next run" if sync.enabled else "is switched off, and does so once it is on"
        places.append(f"The warehouse {sync.name} of Profiles Sync {when}. {all_stores()[sync.kind].keeps}".strip())
    if regulation.space_id:
        places.insert(0, "The archive and the rejects, which are all spaces'. A request for the workspace erases them.")
    return places
