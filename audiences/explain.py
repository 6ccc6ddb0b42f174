"""Why a person is in an audience, or is not: each condition on its own, by the compiler that decides membership."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from audiences import queries
from audiences.models import Audience, Change, Version
from audiences.rules.aggregates import EVENTS, Aggregate
from audiences.rules.compiler import SETTINGS, Asked, QueryScope, Span, time_triggers
from audiences.rules.compiler import readings as readings_sql
from audiences.rules.grammar import ACCOUNTS, USERS, Group, Leaf, conditions, parts, phrase, sentence
from audiences.rules.windows import LONGEST
from identity.models import Profile
from identity.queries import all_numbers
from sources.events import client
from sources.events.sql import Sql, sql
from sources.models import Source
from spaces import personal
from spaces.batches import visible_logs
from spaces.models import Space
from spaces.times import from_milliseconds

MOST_CONDITIONS = 40  # that are explained: each costs a look at the person's rows
NEWEST = 3  # events that are shown as evidence
REMOVED = ("", "null")


@dataclass(frozen=True)
class CurrentMembership:
    """An audience that a person is in. at, cause: when they entered, and why then; None = not recorded."""

    audience: Audience
    at: datetime | None = None
    cause: str = ""


@dataclass(frozen=True)
class SeenRow:
    """A row that speaks for the answer: an event, or a trait's newest value."""

    what: str
    at: datetime
    source: str


@dataclass(frozen=True)
class Reason:
    """A condition, whether it holds, and what was seen. wanted: False = the audience asks that it does not hold."""

    sentence: str
    holds: bool
    wanted: bool
    answer: str
    seen: Sequence[SeenRow] = ()
    turns_at: datetime | None = None  # the first moment at which the passing of time alone may change it

    @property
    def helps(self) -> bool:
        return self.holds == self.wanted


@dataclass(frozen=True)
class Explanation:
    """member: as last evaluated. matches: as asked of the events now. more: conditions that are not explained."""

    sentence: str
    member: bool
    since: CurrentMembership
    matches: bool
    anonymous: bool  # meant by no audience that leaves anonymous people out
    as_of: datetime
    reasons: Sequence[Reason] = field(default_factory=list)
    more: int = 0


def memberships(space: Space, profile: Profile) -> tuple[list[CurrentMembership], list[Audience]]:
    """The audiences that the person is in, with since when, and the others; by name."""
    computed = Audience.objects.filter(space=space, of=whom(profile), deleted_at=None, serving__isnull=False)
    live = list(computed.order_by("name", "id"))
    members = queries.members_of([audience.pk for audience in live])
    inside = [audience for audience in live if profile.number in members[audience.pk]]
    entered = _entered(space, profile.number, inside)
    return [entered[audience.pk] for audience in inside], [audience for audience in live if audience not in inside]


def whom(profile: Profile) -> str:
    """Whom audiences are about that this profile can be in."""
    return ACCOUNTS if profile.kind == Profile.Kind.ACCOUNT else USERS


def explain(space: Space, audience: Audience, profile: Profile, *, now: datetime) -> Explanation:
    """Each condition of the serving definition, or of the newest one, asked about this person alone.

    Raises queries.NotComputed and queries.Unanswerable.
    """
    version = audience.serving
    if version is None:
        version = Version.objects.filter(audience=audience).select_related("audience").order_by("-number")[0]
    leaves = list(parts(version.node))
    shown = leaves[:MOST_CONDITIONS]
    # Narrowed to the rows of this person alone, of all profiles that became part of it.
    scope = queries.scope_of(space, queries.resolved(space), now, all_numbers(space, [profile.number]))
    asked = [Asked("", part, include_anonymous=True, of=audience.of) for _, part in shown]
    # Asked in both ways: somebody may be left out for being anonymous, and for nothing else.
    whole = [Asked("", version.node, include, audience.of) for include in (audience.include_anonymous, True)]
    answers = queries.answer(
        scope, [*whole, *asked], queries.others_of(space, version.node, from_milliseconds(scope.now))
    )
    meant, anyhow, *holds = (profile.number in answer for answer in answers)
    turns = _turns(scope, asked)
    member = profile.number in queries.members(audience)
    explained = reasons(scope, shown, audience.of, holds, profile.number, source_names(space))
    return Explanation(
        sentence=sentence(
            version.node,
            of=audience.of,
            include_anonymous=audience.include_anonymous,
            since=audience.events_since,
        ),
        member=member,
        since=_entered(space, profile.number, [audience])[audience.pk] if member else CurrentMembership(audience),
        matches=meant,
        anonymous=anyhow and not meant,
        as_of=now,
        reasons=[replace(reason, turns_at=turn) for reason, turn in zip(explained, turns, strict=True)],
        more=len(leaves) - len(shown),
    )


def reasons(
    scope: QueryScope,
    shown: Sequence[tuple[str, Leaf | Group]],
    of: str,
    holds: Sequence[bool],
    number: int,
    names: Mapping[int, str],
) -> list[Reason]:
    """What was seen of one person or account for each of these parts, which have their paths; holds: whether each does.

    scope: narrowed to them. of: whom the definition is about. names: of sources, by their keys. Raises
    queries.Unanswerable.
    """
    asked = [Asked("", part, include_anonymous=True, of=of) for _, part in shown]
    comes_to = _readings(scope, asked, number)
    with queries.answering():
        return [
            # What an account, or somebody by his accounts, is judged by are rows of others as well.
            _reason(queries.reaching(scope, [each]), *leaf, of, answer, reading, names)
            for each, leaf, answer, reading in zip(asked, shown, holds, comes_to, strict=True)
        ]


def source_names(space: Space) -> dict[int, str]:
    return dict(Source.objects.filter(workspace=space.workspace_id).values_list("pk", "name"))


def _entered(space: Space, number: int, audiences: Iterable[Audience]) -> dict[int, CurrentMembership]:
    """When this profile last entered each of them: one look-up, by audience and profile."""
    by_id = {audience.pk: audience for audience in audiences}
    if not by_id:
        return {}
    # From ClickHouse: there the log is in the order of audience and profile; the changes have a bitmap for each tick.
    seen = client.seen(visible_logs(stage="evaluate", partitions=[space.pk])[space.pk])
    query = sql(
        "SELECT audience, toUnixTimestamp64Milli(argMax(at, piece)), argMax(cause, piece) FROM membership_log"
        " WHERE workspace = %s AND space = %s AND audience IN %s AND profile = %s AND entered = 1 AND %s"
        " GROUP BY audience",
        space.workspace_id,
        space.pk,
        list(by_id),
        number,
        seen,
    )
    causes = dict(Change.Cause.choices)
    known = {pk: (from_milliseconds(ms), str(causes.get(cause, cause))) for pk, ms, cause in client.rows(query)}
    return {pk: CurrentMembership(audience, *known.get(pk, (None, ""))) for pk, audience in by_id.items()}


def _readings(scope: QueryScope, asked: Sequence[Asked], number: int) -> list[str]:
    """What each of these conditions comes to for this person, where it says so."""
    # A group about others comes to no text of its own.
    own = [each for each in asked if isinstance(each.definition, Leaf)]
    if not own:
        return [""] * len(asked)
    with queries.answering():
        statement = readings_sql(queries.reaching(scope, own), own)
        rows = client.rows(statement, **SETTINGS, max_execution_time=queries.LONGEST_S)
    texts = iter(next((row[1:] for row in rows if row[0] == number), [""] * len(own)))
    return [
        personal.value(each.definition.condition.read_from, next(texts)) if isinstance(each.definition, Leaf) else ""
        for each in asked
    ]


def _turns(scope: QueryScope, asked: Sequence[Asked]) -> list[datetime | None]:
    """For each of these the first moment to come at which an event leaves its window, or a date is there."""
    by_place = [
        list(dict.fromkeys(trigger for leaf in conditions(part.definition) for trigger in leaf.time_triggers()))
        for part in asked
    ]
    turns: list[datetime | None] = [None] * len(asked)
    for steps in {part.reach for part, triggers in zip(asked, by_place, strict=True) if triggers}:
        places = [place for place, part in enumerate(asked) if part.reach == steps]
        triggers = list(dict.fromkeys(trigger for place in places for trigger in by_place[place]))
        spans = [Span(trigger, scope.now) for trigger in triggers]
        with queries.answering():
            own = queries.reaching(scope, [asked[places[0]]])
            statement = time_triggers(own, spans, until=scope.now + LONGEST, most=1)
            (row,) = client.rows(statement, **SETTINGS, max_execution_time=queries.LONGEST_S)
        coming = dict(zip(triggers, row[1::2], strict=True))
        for place in places:
            times = [at for trigger in by_place[place] for at, _ in coming[trigger]]
            turns[place] = from_milliseconds(min(times)) if times else None
    return turns


def _reason(
    scope: QueryScope, path: str, part: Leaf | Group, of: str, holds: bool, reading: str, names: Mapping[int, str]
) -> Reason:
    """A condition below an odd number of `not` is one that the audience wants to be untrue."""
    wanted = path.split(".").count("not") % 2 == 0
    they = f"They {phrase(part, of)}."
    if isinstance(part, Group):  # the pages of the others say why it is true of them
        return Reason(they, holds, wanted, "")
    condition = part.condition
    readings = [
        (_events if aggregate.relation == EVENTS else _value)(scope, aggregate, names)
        for aggregate in condition.aggregates(scope.now)
    ]
    # A name with dots may lead to several traits: those that they have say more than those that they have not.
    shown = [reading for reading in readings if reading[1]] or readings[:1]
    evidence = [row for _, rows in shown for row in rows]
    # Aggregates of one condition on the same events have the same evidence.
    texts, evidence = dict.fromkeys(text for text, _ in shown), list(dict.fromkeys(evidence))
    answer = "; ".join(filter(None, [reading, *texts]))
    return Reason(they, holds, wanted, answer, evidence)


def _events(scope: QueryScope, aggregate: Aggregate, names: Mapping[int, str]) -> tuple[str, list[SeenRow]]:
    """How many events count, and the newest of them."""
    rows = _rows(scope, aggregate, "event, toUnixTimestamp64Milli(ts), source, count() OVER ()", NEWEST)
    count = rows[0][3] if rows else 0
    text = f"{count:,} such event{'' if count == 1 else 's'}" if count else "no such event"
    return text, [
        SeenRow(name, from_milliseconds(ms), names.get(source, "a deleted source")) for name, ms, source, _ in rows
    ]


def _value(scope: QueryScope, aggregate: Aggregate, names: Mapping[int, str]) -> tuple[str, list[SeenRow]]:
    """The newest value of a trait."""
    (name,) = aggregate.names
    rows = _rows(scope, aggregate, "value, toUnixTimestamp64Milli(ts), source", 1)
    if not rows or rows[0][0] in REMOVED:
        return f"they have no {name}", []
    value, ms, source = rows[0]
    read = json.loads(value)
    text = personal.text(read if isinstance(read, str) else value)
    shown = personal.value(name, text if len(text) <= 120 else f"{text[:120]}…", names=personal.OF_PEOPLE)
    seen = SeenRow(f"{name}: {shown}", from_milliseconds(ms), names.get(source, "a deleted source"))
    return f"{name} is {shown}", [seen]


def _rows(scope: QueryScope, aggregate: Aggregate, columns: str, most: int) -> Sequence[Sequence[Any]]:
    relation = aggregate.relation
    query = sql(
        f"%sSELECT {columns} FROM {relation.table} WHERE %s AND {relation.named_by} IN %s AND %s"
        " ORDER BY ts DESC, source DESC, origin_piece DESC, origin_position DESC LIMIT %s",
        scope.tables,
        scope.rows(),
        list(aggregate.names),
        aggregate.rows or Sql("1"),
        most,
    )
    return client.rows(query, **SETTINGS, max_execution_time=queries.LONGEST_S)
