"""What the page about one audience shows: progress, size over time, who moved, what is known of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import OperationalError, connection, transaction
from django.shortcuts import get_object_or_404
from django.utils.timezone import localtime
from pyroaring import BitMap

from access.pages.charts import Chart, stepped
from audiences import queries
from audiences.models import Audience, Change, Version
from audiences.overview import Members, Overview, Status, audiences_of, overview, sample
from identity.pages.presenters import Person
from sources.models import Replay
from spaces.models import Space

MOST_POINTS = 500  # of the chart
FACES = 6  # people who are shown
LATELY = 8  # rows of movement
LONGEST_MS = 3000  # a breakdown that takes longer is left out: the page is to open
AT_ONCE = 500  # members that a download reads at a time


@dataclass(frozen=True)
class ComputeStep:
    """One of the steps of the first compute. `state`: done, now, or ahead."""

    label: str
    about: str
    state: str


@dataclass(frozen=True)
class MembershipChange:
    """Who entered and left at one moment, as counts."""

    at: datetime
    cause: str
    entered: int
    left: int
    size: int


@dataclass(frozen=True)
class IdentifierCount:
    """How many members have an identifier of this type, and how many values they have."""

    type: str
    profiles: int
    percent: float
    values: int


def overview_or_404(space: Space, public_id: str) -> Overview:
    """The audience of this id, unless it was deleted."""
    return overview(get_object_or_404(audiences_of(space), public_id=public_id))


def steps(seen: Overview) -> list[ComputeStep]:
    """How far the first compute is; nothing once the audience serves, or when it cannot."""
    if seen.computed or seen.status not in (Status.COMPUTING, Status.WAITING):
        return []
    joins = seen.version.state == Version.State.CATCHING_UP
    obstacle = ""
    if not joins:  # else it has begun, and nothing stands in its way any more
        obstacle = seen.problem.reason if seen.problem else ""
        if Replay.objects.filter(space=seen.audience.space_id, state=Replay.State.RUNNING).exists():
            obstacle = "A replay is running. The audience is computed as soon as it is complete."
    reading = "done" if joins else "ahead" if obstacle else "now"
    return [
        ComputeStep("Waiting", obstacle or "Nothing stands in its way.", "now" if obstacle else "done"),
        ComputeStep("Computing", "The events of everybody are asked, up to this moment.", reading),
        ComputeStep("Catching up", "What happened meanwhile is added; then it is live.", "now" if joins else "ahead"),
    ]


def size_over_time(audience: Audience, until: datetime) -> Chart | None:
    """The newest MOST_POINTS changes of the size, the last of which holds until then; None before the first one."""
    newest = Change.objects.filter(audience=audience).order_by("-tick", "-pk").values_list("at", "size")[:MOST_POINTS]
    points: list[tuple[datetime, float]] = []
    later = until  # of the change that came after the one at hand
    for at, size in newest:
        later = min(at, later)  # a change that is dated after the next one was noted by a clock that ran ahead
        points.insert(0, (localtime(later), float(size)))
    return stepped(points, label=f"People in {audience.name} over time", until=localtime(until)) if points else None


def moved_lately(audience: Audience) -> list[MembershipChange]:
    """The newest moments at which somebody entered or left, newest first."""
    newest = Change.objects.filter(audience=audience).order_by("-tick", "-pk")[:LATELY]
    rows = [
        MembershipChange(row.at, row.get_cause_display(), _count(row.entered), _count(row.left), row.size)
        for row in newest
    ]
    return [row for row in rows if row.entered or row.left]


def some_of(audience: Audience) -> list[Person]:
    """A few of the people in it, spread over all of them."""
    return sample(audience.space, queries.members(audience), FACES)


BREAKDOWN = """
    SELECT held.type, count(DISTINCT held.profile), count(*) FROM unnest(%s::bigint[]) AS member(number)
    JOIN identity_identifier held ON held.space_id = %s AND held.profile = member.number
    GROUP BY held.type ORDER BY 2 DESC, 1
"""


def breakdown(audience: Audience) -> list[IdentifierCount] | None:
    """What is known of the members, by type of identifier, the most frequent first. None when it takes too long."""
    members = queries.members(audience)
    if not members:
        return []
    numbers = "{" + ",".join(map(str, members)) + "}"  # as text: far faster than an expression
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # LOCAL: it ends with the transaction, whoever uses the connection next.
            cursor.execute(f"SET LOCAL statement_timeout = {LONGEST_MS}")
            cursor.execute(BREAKDOWN, [numbers, audience.space_id])
            rows = cursor.fetchall()
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")  # the transaction may be a larger one
    except OperationalError:
        return None
    return [
        IdentifierCount(type, profiles, round(100 * profiles / len(members), 1), values)
        for type, profiles, values in rows
    ]


BETWEEN = "; "  # several values of one kind
DOWNLOAD = ("profile_id", "user_id", "email", "other_identifiers")


def download(audience: Audience, numbers: BitMap | None = None) -> Iterator[tuple[str, str, str, str]]:
    """A row for each member, as DOWNLOAD names them; several values of one kind are parted by a semicolon.

    numbers: of other people than the members.
    """
    numbers = queries.members(audience) if numbers is None else numbers
    people = Members(audience.space, numbers, with_identifiers=True)
    # By parts: identifiers of a million people do not fit into memory.
    for start in range(0, len(people), AT_ONCE):
        for member in people[start : start + AT_ONCE]:
            pairs = member.identifiers
            # Types of a space's own have no column: they stand together, each with its type.
            others = [f"{type}:{value}" for type, value in pairs if type not in DOWNLOAD]
            yield member.profile_id, _values(pairs, "user_id"), _values(pairs, "email"), BETWEEN.join(others)


def _values(pairs: Iterable[tuple[str, str]], type: str) -> str:
    return BETWEEN.join(value for kind, value in pairs if kind == type)


def _count(kept: bytes | memoryview) -> int:
    return len(queries.bitmap(kept))
