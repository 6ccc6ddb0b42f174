"""How far each stage of the pipeline is in a space, in the words of its overview page."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from access.pages.tables import Pill
from audiences import overview as audiences
from audiences.models import Audience
from destinations.models import Subscription
from destinations.pages.presenters import together
from identity.history import resolve_progress
from sources import queries as sources
from sources.consumption import listening
from spaces import pulse
from spaces.batches import failing
from spaces.models import Log, Space

SHOWN_OF_ERROR = 300  # characters


@dataclass(frozen=True)
class StageStatus:
    """How far a stage is. at: the moment that completes `text`, if there is one."""

    pill: Pill
    text: str
    at: datetime | None = None


def silence_status(stage: str, silent: Container[str]) -> StageStatus | None:
    """That no worker serves the stage, or nobody wakes them; None while somebody does. silent: of spaces.pulse."""
    if pulse.CLICKHOUSE in silent:
        return StageStatus(Pill("Stopped", "bad"), "ClickHouse does not answer. What came in waits; nothing is lost.")
    if stage in silent or pulse.BEAT in silent:
        return StageStatus(Pill("Stopped", "bad"), "No worker answers. What came in waits, and nothing is lost.")
    return None


def archive_status(space: Space) -> StageStatus:
    """Whether the connected sources send anything, and whether it has been archived."""
    connected = [connection.source for connection in listening(space.pk).select_related("source__tally")]
    if not connected:
        return StageStatus(Pill("No source"), "Connect one or two sources; their last 30 days are replayed.")
    if waiting := sum(counts.waiting for counts in sources.count_messages(connected).values()):
        return StageStatus(Pill("Archiving", "busy"), f"Requests waiting to be archived: {waiting:,}.")
    # A source has a tally only from its first request on.
    tallies = [source.tally for source in connected if hasattr(source, "tally")]
    times = [tally.last_received_at for tally in tallies if tally.last_received_at]
    if not times:
        return StageStatus(Pill("Nothing yet"), "No connected source has sent anything.")
    return StageStatus(Pill("Up to date", "good"), "Newest request:", max(times))


def resolve_status(space: Space) -> StageStatus:
    """Whether every archived event belongs to a profile."""
    resolution = resolve_progress(space)
    waiting = f"Events waiting: {resolution.waiting:,}."
    if resolution.replaying:
        return StageStatus(Pill("Replaying", "busy"), f"Past events come in, oldest first. {waiting}")
    if resolution.waiting:
        return StageStatus(Pill("Resolving", "busy"), waiting)
    if not resolution.piece:
        return StageStatus(Pill("Nothing yet"), "No event has come in.")
    return StageStatus(Pill("Up to date", "good"), "Every archived event belongs to a profile.")


def evaluate_status(space: Space) -> StageStatus:
    """The worst status among the audiences, and how many have which."""
    counts = Counter(audience.status for audience in audiences.overviews(space, audiences.audiences_of(space)))
    if not counts:
        return StageStatus(Pill("No audience"), "Describe whom you want to reach.")
    Status = Audience.Status
    text = _count_by_status(counts, Status)
    # The worst status is the one that the page has to show.
    if counts[Status.FAILED]:
        return StageStatus(Pill("Failed", "bad"), text)
    if counts[Status.BEHIND]:
        return StageStatus(Pill("Behind", "warn"), text)
    if counts[Status.COMPUTING] or counts[Status.WAITING]:
        return StageStatus(Pill("Computing", "busy"), text)
    return StageStatus(Pill("Up to date", "good"), f"{text}, as of", audiences.as_of(space))


def sync_status(space: Space) -> StageStatus:
    """The worst status among the subscriptions, and how many have which."""
    subscriptions = space.subscriptions.filter(audience__deleted_at=None).select_related("audience", "destination")
    if not subscriptions:
        return StageStatus(Pill("Nothing connected"), "Send an audience to a destination.")
    # `standing` is the status together with whether anything was switched off.
    counts = Counter(Subscription.Status(subscription.standing) for subscription in subscriptions)
    return StageStatus(together(subscriptions), _count_by_status(counts, Subscription.Status))


def failure_status(stage: str, owners: Iterable[int], *, show_error: bool) -> StageStatus | None:
    """Since when the stage fails for one of these owners, the longest failure of several; None if it does not.

    show_error: whether to add the error message, which is meant for those who run the installation.
    """
    # The log that has failed the longest comes first.
    failures = failing(stage, owners)
    if not failures:
        return None
    log = failures[0]
    pill = Pill("Stopped", "bad") if log.fault == Log.Fault.CODE else Pill("Delayed", "warn")
    fault = f"{log.get_fault_display()}. " if log.fault else ""
    error = f"{log.error[:SHOWN_OF_ERROR]} — " if show_error and log.error else ""
    text = f"{fault}{error}Nothing is lost: it is retried. Attempts so far: {log.failures:,}, since"
    return StageStatus(pill, text, log.failing_since)


def _count_by_status(counts: Counter[Any], statuses: Iterable[Any]) -> str:
    """How many have which status: `2 live, 1 computing`."""
    return ", ".join(f"{counts[status]:,} {status.label.lower()}" for status in statuses if counts[status])
