"""A tick beside the ways in which two open peers compute audiences, rebuilt as SQL on the same engine and data.

Dittofeed's: partial aggregates per condition, person and moment; each tick reads the new events once for each
condition, and for each window everybody's aggregates in it. PostHog's first generation: each audience anew from all of
its events. Each has tables of its own in a database of its own, and must come to the very same members in each tick.

What is left out makes the peers cheaper: how they take events in, and how they hand members on (our sync is not
counted either). People are numbers there as here. Dittofeed's would round the moments of events to a tenth of the
window; it does not here, since members would be others than asked for (there is hardly more than one event of a
person in such a time, so the rows are as many). PostHog's gets no event twice: it drops doubles on their way in.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

import psutil
from pyroaring import BitMap

from benchmarks import traffic, world
from benchmarks.audiences import windowed
from benchmarks.figures import Figure
from benchmarks.live import in_timeline
from benchmarks.questions import AUDIENCES
from benchmarks.stack import Stack, until
from benchmarks.world import DAY_MS, PLANS

INTERVAL_S, PER_SECOND, TICKS = 10, 200, 4
UNITS_MS = {"hours": DAY_MS // 24, "days": DAY_MS, "weeks": 7 * DAY_MS}
MANY, OF_TRAITS = 100, 30  # audiences, and how many of these ask about a trait
PATIENCE_S = 600
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
TEAM = {"kind": "trait", "name": "plan", "op": "equals", "value": "team"}
ORDERED = {"kind": "event", "name": "Order Completed", "atLeast": 1, "within": {"days": 30}}
WITH_TRAITS = {
    "plan is pro": PRO,
    "plan is pro, no order in 30 days": {"all": [PRO, {"not": ORDERED}]},
    "plan is team, or ordered in 30 days": {"any": [TEAM, ORDERED]},
}


@dataclass(frozen=True)
class Leaf:
    """A condition as both peers have it. operator: ">=", "=" or "<"; "<" means everybody else. within: None = ever."""

    name: str
    operator: str = ">="
    number: int = 1
    within: int | None = None  # milliseconds
    where: tuple[str, str] | None = None  # a property and its value
    trait: str | None = None  # `name` is a trait, and this its value


@dataclass(frozen=True)
class Segment:
    name: str
    definition: dict[str, Any]
    leaves: tuple[Leaf, ...]
    together: str  # AND | OR


class PeerEngine(Protocol):
    """tables: their CREATE statements by what they are called, {} for the database."""

    name: str
    tables: Sequence[str]

    def feed(self, where: dict[str, int], since_piece: int, now: int) -> None:
        """It has what resolve brought after this batch, up to `where["piece"]`. Not counted."""

    def tick(self, now: int) -> None: ...

    def members(self, segment: int) -> BitMap: ...


@dataclass
class Cost:
    """Of several ticks."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    postgres_s: list[float] = field(default_factory=list)
    moved: int = 0  # who entered or left in all of them


def measure(running: Stack) -> list[Figure]:
    segments = _segments()
    where = dict(world.furnished(running))
    source = running.api.post("sources", {"name": "Peers", "kind": "server"})["source"]
    with _audiences(running, where, segments) as (space, keys):
        running.api.post(f"spaces/{space}/connections", {"sourceIds": [source["id"]], "replay": False})
        feed = traffic.Traffic(Random(1))
        costs: dict[tuple[str, bool], Cost] = {}
        with _ours(where["space"]) as ours, _peers(segments) as peers:
            since, at, members = 0, _now(), dict.fromkeys(keys, BitMap())
            for run in range(-1, 2 * TICKS):  # the first computes everything in the peers, and does not count
                loaded = run >= TICKS
                if loaded:
                    _feed(running, space, source["writeKeys"][0], feed, at)
                until(lambda moment=at: _now() >= moment, within_s=PATIENCE_S)
                where["piece"] = _resolved(where["space"])
                for peer in peers:
                    peer.feed(where, since, _ms(at))
                since = where["piece"]
                engines = [(ours.name, lambda moment=at: ours.tick(moment))]
                engines += [(peer.name, lambda peer=peer, moment=at: peer.tick(_ms(moment))) for peer in peers]
                for name, tick in engines if run % 2 else reversed(engines):
                    until(_is_calm, within_s=PATIENCE_S)
                    cost = costs.setdefault((name, loaded), Cost()) if run >= 0 else Cost()
                    with _counting(running, cost):
                        tick()
                before, members = members, _agreed(ours, peers, segments, keys)
                if run >= 0:
                    costs[ours.name, loaded].moved += sum(len(members[key] ^ before[key]) for key in keys)
                at += timedelta(seconds=INTERVAL_S)
    return [figure for peer in ("dittofeed", "posthog") for figure in _figures(costs, peer, len(segments))]


def _figures(costs: dict[tuple[str, bool], Cost], peer: str, segments: int) -> Iterator[Figure]:
    for loaded in (False, True):
        mine, theirs = costs["ours", loaded], costs[peer, loaded]
        how = f"{PER_SECOND} events/s" if loaded else "idle"
        guide = f"guide: at most {1 / 3 if loaded else 0.1:.2f} in CPU; the same members in each tick"
        moved = mine.moved / len(mine.cpu_s)
        also = f"{segments} audiences, {world.EVENTS:,} events, {moved:,.0f} people enter or leave in a tick"
        also += f"; of PostgreSQL {_mean(mine.postgres_s) * 1000:,.0f} ms more"
        for what, own, other in (("CPU", mine.cpu_s, theirs.cpu_s), ("time", mine.wall_s, theirs.wall_s)):
            yield Figure(
                f"{what} of a tick of {INTERVAL_S} s, {how}, beside {peer}",
                _mean(own) * 1000,
                "ms",
                len(own),
                peer,
                _mean(other) * 1000,
                f"{guide}; {also}",
            )


def _mean(values: Sequence[float]) -> float:
    """Not the median: the kernel counts CPU in hundredths of a second, which only a sum gets right."""
    return sum(values) / len(values)


def _agreed(
    ours: "_Ours", peers: Sequence[PeerEngine], segments: Sequence[Segment], keys: Sequence[int]
) -> dict[int, BitMap]:
    """The members of our audiences. Raises AssertionError when a peer has others."""
    mine = ours.members(keys)
    for peer in peers:
        for number, (segment, key) in enumerate(zip(segments, keys, strict=True)):
            theirs = peer.members(number)
            more, fewer = theirs - mine[key], mine[key] - theirs
            assert theirs == mine[key], (peer.name, segment.name, len(mine[key]), list(more)[:5], list(fewer)[:5])
    return mine


# The audiences


def _segments() -> list[Segment]:
    """The ten that are asked one by one elsewhere, as far as the peers can say them, and more of their kinds."""
    definitions = {question.name: question.definition for question in AUDIENCES} | WITH_TRAITS
    segments = [segment for name, each in definitions.items() if (segment := _translated(name, each))]
    for number in range(MANY - len(segments)):
        event = windowed(number)
        if number < OF_TRAITS - len(WITH_TRAITS):
            plan = {"kind": "trait", "name": "plan", "op": "equals", "value": PLANS[number % len(PLANS)]}
            event = {("all", "any")[number % 2]: [plan, {"not": event} if number % 3 == 0 else event]}
        segment = _translated(f"number {number}", event)
        assert segment
        segments.append(segment)
    return segments


def _translated(name: str, definition: dict[str, Any]) -> Segment | None:
    """As the peers can say it; None when they cannot (sums, different values, sequences)."""
    word = next((word for word in ("all", "any") if word in definition), None)
    leaves = [_leaf(node) for node in (definition[word] if word else [definition])]
    together = "OR" if word == "any" else "AND"
    return None if None in leaves else Segment(name, definition, tuple(filter(None, leaves)), together)


def _leaf(node: dict[str, Any]) -> Leaf | None:
    if "not" in node:
        inner = _leaf(node["not"])
        return inner and Leaf(inner.name, "<", inner.number, inner.within, inner.where)
    if node["kind"] == "trait":
        return Leaf(node["name"], trait=node["value"])
    if {"sum", "distinct", "then"} & node.keys():
        return None
    (question,) = node.get("where", [None])
    ((unit, count),) = node.get("within", {"days": None}).items()
    operator, number = ("=", node["exactly"]) if "exactly" in node else (">=", node["atLeast"])
    if (operator, number) == ("=", 0):
        operator, number = "<", 1  # neither has rows of somebody who did nothing
    where = question and (question["property"], question["value"])
    return Leaf(node["name"], operator, number, count and count * UNITS_MS[unit], where)


@contextmanager
def _audiences(running: Stack, where: dict[str, int], segments: Sequence[Segment]) -> Iterator[tuple[str, list[int]]]:
    """The public id of the space, and the key of an audience of each segment; they are computed. Gone afterwards."""
    from audiences.models import Audience
    from spaces.models import Space

    space = Space.objects.get(pk=where["space"]).public_id
    path = f"spaces/{space}/audiences"
    made = [
        running.api.post(path, {"name": f"Peer {number}", "definition": segment.definition})["audience"]["id"]
        for number, segment in enumerate(segments)
    ]
    try:
        for audience in made:
            live = lambda path=f"{path}/{audience}": running.api.get(path)["audience"]["status"] == "live"  # noqa: E731
            until(live, within_s=PATIENCE_S, every_s=0.2)
        keys = dict(Audience.objects.filter(public_id__in=made).values_list("public_id", "pk"))
        yield space, [keys[audience] for audience in made]
    finally:
        for audience in made:
            running.api.delete(f"{path}/{audience}")


# Ours, the events, and what it costs


class _Ours:
    """The evaluate stage of one space, which no worker evaluates meanwhile."""

    name = "ours"

    def __init__(self, space: int) -> None:
        from audiences.evaluate import Evaluate
        from spaces.batches import open_log
        from spaces.clock import FixedClock
        from spaces.models import Space

        self._space, self._clock = space, FixedClock(_now())
        self._stage = Evaluate(self._clock)
        self._log = open_log(stage="evaluate", partition=space, workspace_id=Space.objects.get(pk=space).workspace_id)

    def tick(self, at: datetime) -> None:
        """As a worker does, when beat wakes it."""
        from audiences import evaluate
        from spaces.batches import advance

        self._clock.at = at
        while self._space in evaluate.waiting(at):
            advance(self._stage, self._log)

    def members(self, keys: Sequence[int]) -> dict[int, BitMap]:
        from audiences import queries

        return queries.members_of(keys)


@contextmanager
def _ours(space: int) -> Iterator[_Ours]:
    from spaces.batches import owning

    with owning(f"evaluate:{space}") as mine:
        assert mine
        yield _Ours(space)


def _feed(running: Stack, space: str, key: str, feed: traffic.Traffic, at: datetime) -> None:
    """What happens in the interval before this moment is in the timeline."""
    wanted = in_timeline(space) + INTERVAL_S * PER_SECOND
    until_s = at.timestamp()
    messages = feed.messages(INTERVAL_S * PER_SECOND, until_s - INTERVAL_S, until_s)
    traffic.send(running, key, messages)
    until(lambda: in_timeline(space) >= wanted, within_s=PATIENCE_S, every_s=0.1)


def _resolved(space: int) -> int:
    from spaces.batches import visible_logs

    return visible_logs(stage="resolve", partitions=[space])[space].end


def _now() -> datetime:
    from spaces.clock import clock
    from spaces.times import from_milliseconds, milliseconds

    return from_milliseconds(milliseconds(clock.now()))


def _ms(at: datetime) -> int:
    from spaces.times import milliseconds

    return milliseconds(at)


def _is_calm() -> bool:
    """Whether the engine puts no parts together: it would be counted as whoever's tick it is just then."""
    return not _rows("SELECT count() FROM system.merges")[0][0]


@contextmanager
def _counting(running: Stack, cost: Cost) -> Iterator[None]:
    """CPU of the engine's process and of this one, which does the tick; and PostgreSQL's apart."""
    engine, postgres = running.process("clickhouse"), running.process("postgres")
    assert engine
    assert postgres
    backends = [postgres, *postgres.children(recursive=True)]
    before, stored, begun = _cpu_s(engine), sum(map(_cpu_s, backends)), time.perf_counter()
    own = time.process_time()
    yield
    own = time.process_time() - own
    cost.wall_s.append(time.perf_counter() - begun)
    cost.cpu_s.append(own + _cpu_s(engine) - before)
    cost.postgres_s.append(sum(map(_cpu_s, backends)) - stored)


def _cpu_s(process: psutil.Process) -> float:
    try:
        spent = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(spent.user + spent.system)


# The peers


@contextmanager
def _peers(segments: Sequence[Segment]) -> Iterator[list[PeerEngine]]:
    peers: list[PeerEngine] = [Dittofeed(segments), PostHog(segments)]
    try:
        for peer in peers:
            _run(f"CREATE DATABASE {peer.name}")
            for statement in peer.tables:
                _run(statement)
        yield peers
    finally:
        for peer in peers:
            _run(f"DROP DATABASE IF EXISTS {peer.name}")


def _run(statement: str) -> None:
    from sources.events import client
    from sources.events.sql import Sql

    client.run(Sql(statement))


def _rows(statement: str) -> Sequence[Sequence[Any]]:
    from sources.events import client
    from sources.events.sql import Sql

    return client.rows(Sql(statement))


def _bitmap(people: str) -> BitMap:
    from sources.events import client
    from sources.events.sql import Sql

    return client.bitmaps(Sql(f"SELECT groupBitmapState(person) FROM ({people})"))[0]


def _at(ms: int) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')"


def _within(column: str, leaf: Leaf, now: int) -> str:
    since = "" if leaf.within is None else f" AND {column} > {_at(now - leaf.within)}"
    return f"{column} <= {_at(now)}{since}"


def _new(where: dict[str, int], since: int) -> str:
    return f"{world.SEEN.format(**where)} AND piece > {since} AND piece <= {where['piece']}"


def _canonical(where: dict[str, int]) -> str:
    """A join that says of a `profile` whom it went into, `winner`, 0 = nobody."""
    return f"LEFT JOIN (SELECT loser, winner FROM overlay WHERE {world.SEEN.format(**where)}) AS m ON loser = profile"


MOMENT = "DateTime64(3, 'UTC')"
WORKSPACE = 1  # there is one


class Dittofeed:
    """Its steps: 0 which conditions can have changed, 1 aggregates, 3 who meets each condition, 4 who is in.
    (2 is for conditions on dates, which there are none of; 5 hands members on.)"""

    name = "dittofeed"
    tables = (
        f"""CREATE TABLE dittofeed.events (workspace UInt32, processing_time {MOMENT}, person UInt32,
                event_time {MOMENT}, message_id String, type LowCardinality(String), message_raw String,
                event String DEFAULT JSONExtractString(message_raw, 'event'))
            ENGINE = MergeTree ORDER BY (workspace, processing_time, person, event_time, message_id)""",
        f"""CREATE TABLE dittofeed.state (workspace UInt32, type LowCardinality(String), prop UInt32, leaf UInt32,
                person UInt32, event_time {MOMENT}, last_value AggregateFunction(argMax, String, {MOMENT}),
                messages AggregateFunction(uniq, String), computed_at SimpleAggregateFunction(max, {MOMENT}))
            ENGINE = AggregatingMergeTree PARTITION BY (workspace, toYear(event_time))
            ORDER BY (workspace, type, prop, leaf, person, event_time)""",
        f"""CREATE TABLE dittofeed.updated_state (workspace UInt32, type LowCardinality(String), prop UInt32,
                leaf UInt32, person UInt32, computed_at {MOMENT})
            ENGINE = MergeTree ORDER BY computed_at TTL toDateTime(computed_at) + INTERVAL 1 DAY""",
        """CREATE MATERIALIZED VIEW dittofeed.updated_state_mv TO dittofeed.updated_state AS
            SELECT workspace, type, prop, leaf, person, computed_at FROM dittofeed.state""",
        f"""CREATE TABLE dittofeed.resolved_leaf (workspace UInt32, prop UInt32, leaf UInt32, person UInt32,
                value UInt8, computed_at {MOMENT}, INDEX at computed_at TYPE minmax)
            ENGINE = ReplacingMergeTree(computed_at) ORDER BY (workspace, prop, leaf, person)""",
        f"""CREATE TABLE dittofeed.assignment (workspace UInt32, type LowCardinality(String), prop UInt32,
                person UInt32, value UInt8, assigned_at {MOMENT})
            ENGINE = ReplacingMergeTree(assigned_at) ORDER BY (workspace, type, prop, person)""",
    )
    DOUBLED = f"toUInt32({traffic.TWICE * 1000:.0f})"

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._last = 0  # the moment of the tick before, in ms

    def feed(self, where: dict[str, int], since_piece: int, now: int) -> None:
        """With doubles, as many as were sent to us."""
        into = "INSERT INTO dittofeed.events (workspace, processing_time, person, event_time, message_id, type,"
        person, new = "if(winner = 0, profile, winner)", _new(where, since_piece)
        raw = "concat('{\"event\":', toJSONString(toString(event)), ',\"properties\":', toJSONString(properties), '}')"
        _run(
            f"{into} message_raw) SELECT {WORKSPACE}, {_at(now)}, {person}, ts, message_id, 'track', {raw}"
            f" FROM timeline {_canonical(where)}"
            f" ARRAY JOIN if(cityHash64(message_id) % 1000 < {self.DOUBLED}, [1, 2], [1]) AS copy"
            f" WHERE {new} AND type = 'track'"
        )
        raw = "concat('{\"traits\":{', toJSONString(key), ':', value, '}}')"
        _run(
            f"{into} message_raw) SELECT {WORKSPACE}, {_at(now)}, {person}, ts,"
            f" concat('i', toString(piece), '-', toString(position), key), 'identify', {raw}"
            f" FROM traits {_canonical(where)} WHERE {new}"
        )

    def tick(self, now: int) -> None:
        changed = self._prune(now)
        self._know_people(now)
        for number, segment in enumerate(self._segments):
            for place, leaf in enumerate(segment.leaves):
                if changed[number, place]:
                    self._aggregate(number, place, leaf, now)
        for number, segment in enumerate(self._segments):
            for place, leaf in enumerate(segment.leaves):
                if leaf.trait is None:
                    self._resolve_performed(number, place, leaf, now)
                elif changed[number, place]:
                    self._resolve_trait(number, place, leaf, now)
            self._assign(number, segment, now)
        self._last = now

    def members(self, segment: int) -> BitMap:
        return _bitmap(
            f"SELECT person FROM dittofeed.assignment WHERE workspace = {WORKSPACE} AND type = 'segment'"
            f" AND prop = {segment} GROUP BY person HAVING argMax(value, assigned_at)"
        )

    def _prune(self, now: int) -> dict[tuple[int, int], bool]:
        """Step 0: by segment and leaf, whether anything can have changed. Of what was performed, always."""
        places = [(n, i) for n, segment in enumerate(self._segments) for i in range(len(segment.leaves))]
        columns = ", ".join(
            f"countIf({self._meant(leaf)}) > 0" if (leaf := self._segments[n].leaves[i]).trait else "1"
            for n, i in places
        )
        (flags,) = _rows(f"SELECT {columns} FROM dittofeed.events WHERE {self._fresh(now)}")
        return {place: bool(flag) for place, flag in zip(places, flags, strict=True)}

    def _know_people(self, now: int) -> None:
        """The property `id` of whoever is new."""
        _run(
            f"INSERT INTO dittofeed.assignment SELECT DISTINCT {WORKSPACE}, 'user_property', 0, person, 1, {_at(now)}"
            f" FROM dittofeed.events WHERE {self._fresh(now)}"
        )

    def _aggregate(self, number: int, place: int, leaf: Leaf, now: int) -> None:
        """Step 1."""
        value = "''" if leaf.trait is None else f"JSON_VALUE(message_raw, '$.traits.{leaf.name}')"
        _run(
            f"INSERT INTO dittofeed.state SELECT {WORKSPACE}, 'segment', {number}, {place}, person, event_time,"
            f" argMaxState({value}, event_time), uniqState(message_id), {_at(now)} FROM dittofeed.events"
            f" WHERE {self._fresh(now)} AND {self._meant(leaf)} GROUP BY person, event_time"
            " SETTINGS max_bytes_before_external_group_by = 1000000000"  # the first time it is all of history
        )

    def _resolve_trait(self, number: int, place: int, leaf: Leaf, now: int) -> None:
        """Step 3: of those whose value came."""
        touched = (
            f"SELECT person FROM dittofeed.updated_state WHERE computed_at > {_at(self._last)}"
            f" AND workspace = {WORKSPACE} AND type = 'segment' AND prop = {number} AND leaf = {place}"
        )
        _run(
            f"INSERT INTO dittofeed.resolved_leaf SELECT {WORKSPACE}, {number}, {place}, person,"
            f" argMaxMerge(last_value) = '{leaf.trait}', {_at(now)} FROM dittofeed.state"
            f" WHERE {self._of(number, place)} AND person IN ({touched}) GROUP BY person"
        )

    def _resolve_performed(self, number: int, place: int, leaf: Leaf, now: int) -> None:
        """Step 3: who does not meet it any more, then who does now; both from everybody's aggregates in the window."""
        operator = ">=" if leaf.operator == "<" else leaf.operator
        counted = (
            f"SELECT person FROM dittofeed.state WHERE {self._of(number, place)}"
            f" AND {_within('event_time', leaf, now)} GROUP BY person HAVING uniqMerge(messages) {operator}"
            f" {leaf.number}"
        )
        true = (
            f"SELECT person FROM dittofeed.resolved_leaf WHERE workspace = {WORKSPACE} AND prop = {number}"
            f" AND leaf = {place} GROUP BY person HAVING argMax(value, computed_at)"
        )
        known = (
            f"SELECT person FROM dittofeed.assignment WHERE workspace = {WORKSPACE} AND type = 'user_property'"
            " AND prop = 0"
        )
        meets, fails = ("NOT IN", "IN") if leaf.operator == "<" else ("IN", "NOT IN")
        into = f"INSERT INTO dittofeed.resolved_leaf SELECT DISTINCT {WORKSPACE}, {number}, {place}, person"
        _run(f"{into}, 0, {_at(now)} FROM ({true}) WHERE person {fails} ({counted})")
        _run(f"{into}, 1, {_at(now)} FROM ({known}) WHERE person {meets} ({counted}) AND person NOT IN ({true})")

    def _assign(self, number: int, segment: Segment, now: int) -> None:
        """Step 4."""
        of_segment = f"workspace = {WORKSPACE} AND prop = {number}"
        changed = f"SELECT person FROM dittofeed.resolved_leaf WHERE {of_segment} AND computed_at > {_at(self._last)}"
        latest = (
            f"SELECT person, leaf, argMax(value, computed_at) AS latest FROM dittofeed.resolved_leaf WHERE {of_segment}"
            f" AND person IN ({changed}) GROUP BY person, leaf"
        )
        holds = f" {segment.together} ".join(f"leaves[{place}]" for place in range(len(segment.leaves)))
        _run(
            f"INSERT INTO dittofeed.assignment SELECT {WORKSPACE}, 'segment', {number}, person, {holds}, {_at(now)}"
            f" FROM (SELECT person, mapFromArrays(groupArray(leaf), groupArray(latest)) AS leaves FROM ({latest})"
            " GROUP BY person)"
        )

    def _fresh(self, now: int) -> str:
        return f"workspace = {WORKSPACE} AND processing_time > {_at(self._last)} AND processing_time <= {_at(now)}"

    def _of(self, number: int, place: int) -> str:
        return f"workspace = {WORKSPACE} AND type = 'segment' AND prop = {number} AND leaf = {place}"

    def _meant(self, leaf: Leaf) -> str:
        if leaf.trait is not None:
            return f"(type = 'identify' AND JSONHas(message_raw, 'traits', '{leaf.name}'))"
        named = f"type = 'track' AND event = '{leaf.name}'"
        if leaf.where:
            named += f" AND JSON_VALUE(message_raw, '$.properties.{leaf.where[0]}') = '{leaf.where[1]}'"
        return f"({named})"


class PostHog:
    """Its first generation, which is still what computes cohorts: each anew, under the next version."""

    name = "posthog"
    tables = (
        f"""CREATE TABLE posthog.events (team UInt32, distinct_id UInt32, person_id UInt32,
                event LowCardinality(String), ts {MOMENT}, message_id String, props String)
            ENGINE = MergeTree PARTITION BY toYYYYMM(ts)
            ORDER BY (team, toDate(ts), event, cityHash64(distinct_id), cityHash64(message_id))""",
        """CREATE TABLE posthog.overrides (team UInt32, distinct_id UInt32, person_id UInt32, version UInt64)
            ENGINE = ReplacingMergeTree(version) ORDER BY (team, distinct_id)""",
        """CREATE TABLE posthog.persons (team UInt32, id UInt32, properties String, is_deleted UInt8, version UInt64)
            ENGINE = ReplacingMergeTree(version) ORDER BY (team, id)""",
        """CREATE TABLE posthog.members (team UInt32, cohort UInt32, person UInt32, sign Int8, version UInt64)
            ENGINE = CollapsingMergeTree(sign) ORDER BY (team, cohort, person, version)""",
    )

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._version = 0

    def feed(self, where: dict[str, int], since_piece: int, now: int) -> None:
        new = _new(where, since_piece)
        _run(
            f"INSERT INTO posthog.events SELECT {WORKSPACE}, profile, profile, event, ts, message_id,"
            f" toJSONString(properties) FROM timeline WHERE {new} AND type = 'track'"
        )
        _run(f"INSERT INTO posthog.overrides SELECT {WORKSPACE}, loser, winner, piece FROM overlay WHERE {new}")
        seen = world.SEEN.format(**where)
        losers = f"SELECT loser FROM overlay WHERE {seen}"
        _run(
            f"INSERT INTO posthog.persons SELECT {WORKSPACE}, profile, '{{}}', profile IN ({losers}), 0"
            f" FROM profiles WHERE {new}"
        )
        _run(
            f"INSERT INTO posthog.persons SELECT {WORKSPACE}, if(winner = 0, profile, winner) AS id,"
            " concat('{\"plan\":', argMax(value, ts), '}'), 0, toUnixTimestamp64Milli(max(ts))"
            f" FROM traits {_canonical(where)} WHERE {new} AND key = 'plan' GROUP BY id"
        )

    def tick(self, now: int) -> None:
        self._version += 1
        for number, segment in enumerate(self._segments):
            both = " INTERSECT DISTINCT " if segment.together == "AND" else " UNION DISTINCT "
            people = both.join(f"({self._people(leaf, now)})" for leaf in segment.leaves)
            _run(
                f"INSERT INTO posthog.members SELECT {WORKSPACE} AS team, {number} AS cohort, person,"
                f" toInt8(1) AS sign, {self._version} AS version FROM ({people})"
                f" UNION ALL SELECT team, cohort, person, -1, version FROM posthog.members FINAL"
                f" WHERE team = {WORKSPACE} AND cohort = {number} AND version < {self._version} AND sign = 1"
            )
            _rows(f"SELECT count(DISTINCT person) FROM posthog.members WHERE {self._current(number)}")

    def members(self, segment: int) -> BitMap:
        return _bitmap(f"SELECT person FROM posthog.members WHERE {self._current(segment)}")

    def _current(self, number: int) -> str:
        return f"team = {WORKSPACE} AND cohort = {number} AND version = {self._version}"

    def _people(self, leaf: Leaf, now: int) -> str:
        alive = f"SELECT id AS person FROM posthog.persons WHERE team = {WORKSPACE} GROUP BY id HAVING"
        alive += " NOT argMax(is_deleted, version)"
        if leaf.trait is not None:
            return f"{alive} AND JSONExtractString(argMax(properties, version), '{leaf.name}') = '{leaf.trait}'"
        overrides = (
            "SELECT distinct_id, argMax(person_id, version) AS person_id, 1 AS is_there FROM posthog.overrides"
            f" WHERE team = {WORKSPACE} GROUP BY distinct_id"
        )
        where = f" AND JSONExtractString(props, '{leaf.where[0]}') = '{leaf.where[1]}'" if leaf.where else ""
        operator = ">=" if leaf.operator == "<" else leaf.operator
        counted = (
            "SELECT if(o.is_there, o.person_id, e.person_id) AS person FROM posthog.events AS e"
            f" LEFT JOIN ({overrides}) AS o ON o.distinct_id = e.distinct_id WHERE team = {WORKSPACE}"
            f" AND event = '{leaf.name}' AND {_within('ts', leaf, now)}{where}"
            f" GROUP BY person HAVING count() {operator} {leaf.number}"
        )
        return f"({alive}) EXCEPT DISTINCT ({counted})" if leaf.operator == "<" else counted
