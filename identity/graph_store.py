"""The identity graph in PostgreSQL: loaded and written for a whole batch at a time.

Every statement takes all of its rows at once: the number of statements does not grow with the batch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec
import pyarrow
from django.db import connection

from identity.models import ProfileSplit
from identity.rules.extract import SetAside
from identity.rules.graph import IdentityGraph, Node, SeenSet
from identity.rules.messages import ArchivedEvent
from identity.rules.policy import Identifier, Policy
from identity.rules.resolution import LONGEST_ID, EventBatch, Resolution, Traits, from_columns, newest, to_columns
from identity.rules.splits import SplitIndex, SplitRule
from spaces.batches import Overtaken
from spaces.ids import new_id
from spaces.models import Space
from spaces.text import storable

# A moment from whole milliseconds, exactly: a double holds them, and PostgreSQL counts in microseconds.
MOMENT = "timestamptz 'epoch' + {} * interval '1 ms'"
USER, ACCOUNT = 1, 2
NO_IDENTIFIERS = "no_identifiers"  # the code of rejects of a space
LONGEST_MESSAGE = 32_768  # characters of a refused one
LONGEST_REASON = 2_000
MOST_SET_ASIDE, SHOWN_OF_SET_ASIDE = 20, 200  # values kept of one set of identifiers, and characters of each


@dataclass
class Written:
    """What a batch changed, for whoever reads ClickHouse and for audiences.

    winners: of every profile merged in this batch the last winner. aliases: (loser, winner) for these, and for those
    who had lost to one of them before. people: (number, kind, known). gained: profiles, not new ones, that have an
    identifier more, or are known now. traits: of each profile whose traits are others now, (before, after).
    links: (user, account) that belong together now, and did not before.
    """

    created: list[int]
    winners: dict[int, int]
    aliases: list[tuple[int, int]]
    people: list[tuple[int, int, int]]
    gained: set[int]
    traits: dict[int, tuple[Traits, Traits]]
    links: list[tuple[int, int]]


def active_splits(space: Space) -> list[SplitRule]:
    """What resolve goes by."""
    splits = ProfileSplit.objects.filter(space=space, state__in=ProfileSplit.ACTIVE).order_by("pk")
    return [split_rule(split) for split in splits]


def split_rule(split: ProfileSplit) -> SplitRule:
    taken, left, home = (
        tuple((type, value) for type, value in pairs) for pairs in (split.taken, split.left, split.moved_to)
    )
    return SplitRule(split.pk or 0, taken, left, home[0] if home else None)


def load(space: Space, events: Sequence[ArchivedEvent], policy: Policy, splits: SplitIndex) -> IdentityGraph:
    """The profiles that hold any identifier of these events, whole.

    Holds the space's counters until the transaction ends, so that numbers are given in one order.
    """
    identifiers = {event.account for event in events if event.account}.union(*{event.user for event in events})
    # With an identifier that is nobody's yet may come what was moved to it, and with it who has that now.
    while moved := {one for home in identifiers & splits.moved.keys() for one in splits.moved[home]} - identifiers:
        identifiers |= moved
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO identity_graph (space_id, workspace_id, last_profile, last_identifier, untouched)
               VALUES (%s, %s, 0, 0, false) ON CONFLICT DO NOTHING""",
            [space.pk, space.workspace_id],
        )
        cursor.execute(
            "SELECT last_profile, last_identifier FROM identity_graph WHERE space_id = %s FOR UPDATE", [space.pk]
        )
        last_profile, last_identifier = cursor.fetchone()
        # LIMIT keeps a look-up a look-up: without statistics the planner would rather read the whole table. And it must
        # not know which space: it takes one that came after the last statistics for empty, and reads all of it for
        # every value.
        execute(
            cursor,
            """SELECT DISTINCT holder.profile FROM {rows}
               CROSS JOIN LATERAL (SELECT profile FROM identity_identifier
                                   WHERE space_id = (SELECT %(space)s) AND type = q.type AND value = q.value
                                   LIMIT 1) AS holder""",
            "type text, value text",
            list(identifiers),
            {"space": space.pk},
        )
        execute(
            cursor,
            """SELECT p.number, p.merges, i.type, i.value, (extract(epoch FROM i.first_seen_at) * 1000)::bigint
               FROM {rows}
               CROSS JOIN LATERAL (SELECT number, merges FROM identity_profile
                                   WHERE space_id = %(space)s AND number = q.number LIMIT 1) AS p
               CROSS JOIN LATERAL (SELECT type, value, first_seen_at FROM identity_identifier
                                   WHERE space_id = %(space)s AND profile = q.number OFFSET 0) AS i""",
            "number bigint",
            cursor.fetchall(),
            {"space": space.pk},
        )
        nodes: dict[int, Node] = {}
        for number, merges, type, value, at in cursor.fetchall():
            node = nodes.get(number)
            if node is None:
                node = nodes[number] = Node(number, {}, merges)
            node.identifiers[type, value] = at
    return IdentityGraph(policy, list(nodes.values()), last_profile, last_identifier, splits)


def record(space: Space, number: int, graph: IdentityGraph, events: EventBatch, resolution: Resolution) -> Written:
    """The batch's graph, evidence, traits and links are in PostgreSQL. number: of its Prepare."""
    with connection.cursor() as cursor:
        tables = _Tables(cursor, space, number, events)
        # Merges first: they move what losers held, before the traits of winners are read and put together.
        aliases = tables.merge(graph)
        traits = _changed_traits(tables, graph, resolution)
        tables.create(graph, traits)
        tables.update_traits({profile: new for profile, (_, new) in traits.items() if profile not in graph.created})
        tables.add_identifiers(graph)
        tables.add_evidence(graph.seen_sets, resolution.set_aside)
        links = tables.link(resolution.links)
        tables.update_counters(graph)
    became_known = graph.became_known()
    alive = graph.alive()
    accounts = {profile for profile, node in alive.items() if node.is_account}
    # By who holds it at the end: the profile that gained it may have lost a merge later in the batch.
    holders = {graph.holder[gained.identifier].number for gained in graph.gained}
    return Written(
        created=list(graph.created),
        winners=graph.winners(),
        aliases=aliases,
        # A loser counts as not known by itself.
        people=[
            (profile, ACCOUNT if profile in accounts else USER, int(profile in alive and alive[profile].is_known))
            for profile in [*graph.created, *became_known]
        ],
        gained=holders.union(became_known) - graph.created.keys(),
        traits=traits,
        links=links,
    )


def forget(space: Space, numbers: Sequence[int]) -> None:
    """What resolve has made of these profiles, all numbers of theirs, is gone; their rows and identifiers are not.

    As if none of their events had been resolved yet: `record` brings them back. `load` holds the space's counters.
    """
    mine: dict[str, Any] = {"space": space.pk, "numbers": list(numbers)}
    with connection.cursor() as cursor:
        for statement in (
            "UPDATE identity_identifier SET profile = 0 WHERE space_id = %(space)s AND profile = ANY(%(numbers)s)",
            """UPDATE identity_profile SET merged_into = NULL, merges = 0, traits = '{}', traits_seen = '{}'
               WHERE space_id = %(space)s AND number = ANY(%(numbers)s)""",
            "DELETE FROM identity_merge WHERE space_id = %(space)s AND loser = ANY(%(numbers)s)",
            'DELETE FROM identity_link WHERE space_id = %(space)s AND "user" = ANY(%(numbers)s)',
        ):
            cursor.execute(statement, mine)


def forget_evidence(space: Space, numbers: Sequence[int]) -> None:
    """No set of identifiers was ever seen of these profiles: `record` brings back those that are seen now."""
    with connection.cursor() as cursor:
        statement = "DELETE FROM identity_evidence WHERE space_id = %s AND profile = ANY(%s)"
        cursor.execute(statement, [space.pk, list(numbers)])


def remove(space: Space, numbers: Sequence[int]) -> None:
    """These profiles are nobody's any more; what they held keeps its number (`add_identifiers`)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM identity_profile WHERE space_id = %s AND number = ANY(%s)", [space.pk, list(numbers)]
        )


def go_into(space: Space, homes: Mapping[int, int]) -> None:
    """Each of these profiles stands for another one: its id leads there."""
    with connection.cursor() as cursor:
        execute(
            cursor,
            """UPDATE identity_profile p SET merged_into = q.home FROM {rows}
               WHERE p.space_id = %(space)s AND p.number = q.number""",
            "number bigint, home bigint",
            list(homes.items()),
            {"space": space.pk},
        )


def reject(space_id: int, refused: pyarrow.Table, *, code: str, reason: str) -> None:
    """These archived rows are rejects of their sources, each once for the space."""
    if not refused.num_rows:
        return
    statement = f"""INSERT INTO sources_reject (workspace_id, source_id, space_id, piece, position, received_at,
                                                code, reason, path, message_id, message, messages,
                                                call, whole, again)
                    SELECT s.workspace_id, s.id, %(space)s, q.piece, q.position, {MOMENT.format("q.at")},
                           %(code)s, %(reason)s, '', q.id, q.message, 1, '', false, false
                    FROM {{rows}} JOIN sources_source s ON s.id = q.source
                    ON CONFLICT (space_id, source_id, piece, position) DO NOTHING"""
    columns = (
        refused["source"].to_pylist(),
        refused["piece"].to_pylist(),
        refused["position"].to_pylist(),
        refused["received_at"].cast(pyarrow.int64()).to_pylist(),
        [storable(id)[:LONGEST_ID] for id in refused["message_id"].to_pylist()],
        [storable(message)[:LONGEST_MESSAGE] for message in refused["message"].to_pylist()],
    )
    names = "source bigint, piece bigint, position bigint, at bigint, id text, message text"
    parameters = {"space": space_id, "code": code, "reason": storable(reason)[:LONGEST_REASON]}
    with connection.cursor() as cursor:
        execute(cursor, statement, names, zip(*columns, strict=True), parameters)


def take_again(space_id: int, rejects: Iterable[tuple[int, int, int]]) -> None:
    """These rejects of the space, each (source, piece, position), are none any more. Raises Overtaken."""
    places = list(rejects)
    if not places:
        return
    with connection.cursor() as cursor:
        execute(
            cursor,
            """DELETE FROM sources_reject r USING {rows} WHERE r.space_id = %(space)s AND r.again
               AND r.source_id = q.source AND r.piece = q.piece AND r.position = q.position""",
            "source bigint, piece bigint, position bigint",
            places,
            {"space": space_id},
        )
        # A stalled worker must not resolve once more what another one has resolved in the meantime.
        if cursor.rowcount != len(places):
            raise Overtaken(f"{len(places) - cursor.rowcount} rejects of space {space_id} are gone")


def mark_untouched(space_id: int, *, untouched: bool) -> None:
    """Whether a replay changed people and nobody was told."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE identity_graph SET untouched = %s WHERE space_id = %s AND untouched <> %s",
            [untouched, space_id, untouched],
        )


def _changed_traits(
    tables: "_Tables", graph: IdentityGraph, resolution: Resolution
) -> dict[int, tuple[Traits, Traits]]:
    """(before, after) of each profile that is left and whose traits the batch, its events or its merges, changed."""
    winners = graph.winners()
    # Traits were noted for the number of their moment; a later event of the batch may have merged it away.
    sent: dict[int, list[Traits]] = {}
    for number, traits in resolution.traits.items():
        sent.setdefault(winners.get(number, number), []).append(traits)
    losers: dict[int, list[int]] = {}
    for loser, winner in winners.items():
        losers.setdefault(winner, []).append(loser)
    concerned = sent.keys() | losers.keys()
    stored = tables.traits([*concerned, *winners])
    changed = {}
    for number in concerned:
        before = stored.get(number, {})
        of_losers = (stored.get(loser, {}) for loser in losers.get(number, ()))
        after = newest([before, *of_losers, *sent.get(number, ())])
        if after != before:
            changed[number] = (before, after)
    return changed


class _Tables:
    """The tables of one space during one batch. Statements are named by what is true after them."""

    def __init__(self, cursor: Any, space: Space, number: int, events: EventBatch) -> None:
        self.cursor, self.events = cursor, events
        self.owner = {"workspace": space.workspace_id, "space": space.pk, "piece": number}

    def execute(self, statement: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        execute(self.cursor, statement, columns, rows, self.owner)

    def evidence_of(self, index: int) -> tuple[int, str]:
        """(source, message id) of an event of the batch."""
        return self.events.sources[index], self.events.ids[index]

    def merge(self, graph: IdentityGraph) -> list[tuple[int, int]]:
        """Losers, and who lost to them before, point at their last winner. Returns (loser, winner) of all these."""
        if not graph.merged:
            return []
        winners = graph.winners()
        aliases = list(winners.items())
        # Profiles of this batch are not in the tables yet: `create` writes them merged.
        older_losers = [(loser, winner) for loser, winner in aliases if loser not in graph.created]
        if older_losers:
            columns = "loser bigint, winner bigint"
            self.execute(
                """UPDATE identity_profile p SET merged_into = q.winner FROM {rows}
                   WHERE p.space_id = %(space)s AND p.merged_into = q.loser RETURNING p.number, q.winner""",
                columns,
                older_losers,
            )
            aliases += self.cursor.fetchall()
            self.execute(
                """UPDATE identity_profile p SET merged_into = q.winner FROM {rows}
                   WHERE p.space_id = %(space)s AND p.number = q.loser""",
                columns,
                older_losers,
            )
            self.execute(
                """UPDATE identity_identifier i SET profile = q.winner FROM {rows}
                   WHERE i.space_id = %(space)s AND i.profile = q.loser""",
                columns,
                older_losers,
            )
        alive = graph.alive()
        older_winners = set(winners.values()) - graph.created.keys()
        self.execute(
            """UPDATE identity_profile p SET merges = q.merges FROM {rows}
               WHERE p.space_id = %(space)s AND p.number = q.number""",
            "number bigint, merges int",
            [(number, alive[number].merges) for number in older_winners],
        )
        self.execute(
            f"""INSERT INTO identity_merge
                   (workspace_id, space_id, loser, winner, piece, at, source_id, message_id, reason)
                SELECT %(workspace)s, %(space)s, q.loser, q.winner, %(piece)s, {MOMENT.format("q.at")},
                       q.source, q.message, q.reason
                FROM {{rows}}""",
            "loser bigint, winner bigint, at bigint, source bigint, message text, reason text",
            [
                (pair.loser, pair.winner, self.events.times[pair.index], *self.evidence_of(pair.index), pair.reason)
                for pair in graph.merged
            ],
        )
        return aliases

    def traits(self, numbers: Iterable[int]) -> dict[int, Traits]:
        self.execute(
            """SELECT p.number, p.traits::text, p.traits_seen::text FROM {rows}
               CROSS JOIN LATERAL (SELECT number, traits, traits_seen FROM identity_profile
                                   WHERE space_id = %(space)s AND number = q.number LIMIT 1) AS p
               WHERE p.traits_seen <> '{{}}'""",
            "number bigint",
            [(number,) for number in numbers],
        )
        return {number: from_columns(values, seen) for number, values, seen in self.cursor.fetchall()}

    def create(self, graph: IdentityGraph, traits: Mapping[int, tuple[Traits, Traits]]) -> None:
        if not graph.created:  # as everywhere below: most batches of known people have nothing to write
            return
        alive, winners = graph.alive(), graph.winners()
        again = """ON CONFLICT (space_id, number) DO UPDATE SET
                       kind = excluded.kind, merged_into = excluded.merged_into, merges = excluded.merges,
                       traits = excluded.traits, traits_seen = excluded.traits_seen,
                       first_seen_at = excluded.first_seen_at"""
        if not graph.numbers:  # a second wall: a profile that is not resolved once more is created once
            again = ""
        rows = []
        for number, at in graph.created.items():
            node = alive.get(number)  # none: it was created and merged within the batch, and was a person
            kind, merges = ACCOUNT if node and node.is_account else USER, node.merges if node else 0
            columns = to_columns(traits[number][1] if number in traits else {})
            rows.append((new_id("use"), number, winners.get(number), at, kind, merges, *columns))
        self.execute(
            f"""INSERT INTO identity_profile (public_id, workspace_id, space_id, number, kind, merged_into, merges,
                                              traits, traits_seen, first_seen_at)
                SELECT q.id, %(workspace)s, %(space)s, q.number, q.kind, q.winner, q.merges, q.traits, q.seen,
                       {MOMENT.format("q.at")}
                FROM {{rows}} {again}""",
            "id text, number bigint, winner bigint, at bigint, kind int, merges int, traits jsonb, seen jsonb",
            rows,
        )

    def update_traits(self, traits: Mapping[int, Traits]) -> None:
        if not traits:
            return
        self.execute(
            """UPDATE identity_profile p SET traits = q.traits, traits_seen = q.seen FROM {rows}
               WHERE p.space_id = %(space)s AND p.number = q.number""",
            "number bigint, traits jsonb, seen jsonb",
            [(number, *to_columns(new)) for number, new in traits.items()],
        )

    def add_identifiers(self, graph: IdentityGraph) -> None:
        if not graph.gained:
            return
        self.execute(
            f"""INSERT INTO identity_identifier
                   (workspace_id, space_id, number, type, value, profile, first_seen_at, source_id, message_id)
                SELECT %(workspace)s, %(space)s, q.number, q.type, q.value, q.profile, {MOMENT.format("q.at")},
                       q.source, q.message
                FROM {{rows}}
                ON CONFLICT (space_id, type, value) DO UPDATE SET  -- nobody's any more, it keeps its number
                    profile = excluded.profile, first_seen_at = excluded.first_seen_at,
                    source_id = excluded.source_id, message_id = excluded.message_id
                WHERE identity_identifier.profile = 0""",
            "number bigint, type text, value text, profile bigint, at bigint, source bigint, message text",
            [
                (
                    number,
                    *gained.identifier,
                    graph.holder[gained.identifier].number,
                    gained.at,
                    *self.evidence_of(gained.index),
                )
                for number, gained in enumerate(graph.gained, graph.last_identifier + 1)
            ],
        )
        if self.cursor.rowcount != len(graph.gained):
            raise Overtaken(f"somebody else has given identifiers of space {self.owner['space']} to a profile")

    def add_evidence(
        self,
        seen_sets: Mapping[tuple[Identifier, ...], SeenSet],
        set_aside: Mapping[tuple[Identifier, ...], Iterable[SetAside]],
    ) -> None:
        if not seen_sets:
            return
        # By event time, not by arrival: a replay brings what was first after what is last.
        earlier, later = "excluded.first_seen_at < old.first_seen_at", "excluded.last_seen_at >= old.last_seen_at"
        self.execute(
            f"""INSERT INTO identity_evidence AS old
                   (workspace_id, space_id, set_hash, identifiers, refused, set_aside, profile, events,
                    first_seen_at, first_source_id, first_message_id, last_seen_at, last_source_id, last_message_id)
                SELECT %(workspace)s, %(space)s, decode(q.hash, 'hex'), q.identifiers, q.refused, q.set_aside,
                       q.profile, q.events,
                       {MOMENT.format("q.first")}, q.first_source, q.first_message,
                       {MOMENT.format("q.last")}, q.last_source, q.last_message
                FROM {{rows}}
                ON CONFLICT (space_id, set_hash) DO UPDATE SET
                    set_aside = CASE WHEN excluded.set_aside = '[]' THEN old.set_aside ELSE excluded.set_aside END,
                    refused = excluded.refused, profile = excluded.profile, events = old.events + excluded.events,
                    first_seen_at = least(old.first_seen_at, excluded.first_seen_at),
                    first_source_id = CASE WHEN {earlier} THEN excluded.first_source_id ELSE old.first_source_id END,
                    first_message_id = CASE WHEN {earlier} THEN excluded.first_message_id
                                            ELSE old.first_message_id END,
                    last_seen_at = greatest(old.last_seen_at, excluded.last_seen_at),
                    last_source_id = CASE WHEN {later} THEN excluded.last_source_id ELSE old.last_source_id END,
                    last_message_id = CASE WHEN {later} THEN excluded.last_message_id ELSE old.last_message_id END""",
            "hash text, identifiers jsonb, refused jsonb, set_aside jsonb, profile bigint, events bigint, "
            "first bigint, first_source bigint, first_message text, last bigint, last_source bigint, last_message text",
            [
                (
                    *_hash_and_json(identifiers),
                    msgspec.json.encode(seen.refused).decode() if seen.refused else "[]",
                    # The first few, cut: what one person's events carry beside their ids may be without end.
                    msgspec.json.encode(
                        [
                            (value.type, value.value[:SHOWN_OF_SET_ASIDE], value.why)
                            for value in islice(set_aside.get(identifiers, ()), MOST_SET_ASIDE)
                        ]
                    ).decode(),
                    seen.node.number,
                    seen.events,
                    seen.first,
                    *self.evidence_of(seen.first_index),
                    seen.last,
                    *self.evidence_of(seen.last_index),
                )
                for identifiers, seen in seen_sets.items()
            ],
        )

    def link(self, links: Mapping[tuple[int, int], int]) -> list[tuple[int, int]]:
        """Returns those that were not there before."""
        if not links:
            return []
        self.execute(
            f"""INSERT INTO identity_link AS old (workspace_id, space_id, "user", account, first_seen_at)
                SELECT %(workspace)s, %(space)s, q.person, q.account, {MOMENT.format("q.at")} FROM {{rows}}
                ON CONFLICT (space_id, "user", account)
                DO UPDATE SET first_seen_at = least(old.first_seen_at, excluded.first_seen_at)
                RETURNING "user", account, xmax = 0""",  # a row that was updated has the number of who did it
            "person bigint, account bigint, at bigint",
            [(person, account, at) for (person, account), at in links.items()],
        )
        return [(person, account) for person, account, is_new in self.cursor.fetchall() if is_new]

    def update_counters(self, graph: IdentityGraph) -> None:
        if graph.gained:  # who creates a profile gives it an identifier: no other batch gives out a number
            self.cursor.execute(
                "UPDATE identity_graph SET last_profile = %s, last_identifier = %s WHERE space_id = %s",
                [graph.last_profile, graph.last_identifier + len(graph.gained), self.owner["space"]],
            )


@lru_cache(maxsize=100_000)
def _hash_and_json(identifiers: tuple[Identifier, ...]) -> tuple[str, str]:
    """The hash in hexadecimal: it does not depend on the order of priority, which a policy can change."""
    return (
        blake2b(msgspec.json.encode(sorted(identifiers)), digest_size=16).hexdigest(),
        msgspec.json.encode(identifiers).decode(),
    )


def execute(
    cursor: Any, statement: str, columns: str, rows: Iterable[Sequence[Any]], parameters: Mapping[str, Any]
) -> None:
    """Run a statement once for all rows: `{rows}` in it is a table `q` with these columns, such as "number bigint".

    Each column goes as one array literal: PostgreSQL reads that four times as fast as a JSON list of objects.
    """
    names, kinds = zip(*(column.split() for column in columns.split(", ")), strict=True)
    values = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = {}
    for name, kind, column in zip(names, kinds, values, strict=True):
        if kind in ("int", "bigint"):
            items = ["NULL" if value is None else str(value) for value in column]
        else:  # quoted, all of them: text may be empty, or the word NULL
            items = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in column]
        arrays[f"column_{name}"] = "{" + ",".join(items) + "}"
    table = ", ".join(f"%(column_{name})s::{kind}[]" for name, kind in zip(names, kinds, strict=True))
    cursor.execute(statement.format(rows=f"unnest({table}) AS q({', '.join(names)})"), {**parameters, **arrays})
