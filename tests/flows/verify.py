"""What the stores hold, against what was acknowledged and what the rules say.

    manage.py shell -c "from tests.flows import verify; verify.main('expected.json')"

In a process of its own, so that it sees what any reader sees and remembers nothing. All of it is compared at one
moment: one snapshot of PostgreSQL, and of ClickHouse what that snapshot makes visible. What was compared is printed;
each fault is a line that names who differs, and the status is then 1.
"""

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from django.db import connection, transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce
from pyroaring import BitMap

from audiences import queries as audiences
from audiences import trait_values
from audiences.models import Audience, Change, ComputedTrait, Evaluation, Version
from audiences.rules.compiler import Asked
from destinations import queries as destinations
from destinations.models import Acknowledged, Subscription
from identity import resolve_stage
from identity.models import ChangeSet, Graph, Identifier, Profile
from quickstart.resolver import DEFAULTS, Fed, Reference, find_group_identifier, find_user_identifiers
from sources.events import client
from sources.events.sql import sql
from sources.models import Inbox, Reject, Replay, Source, Tally
from spaces.batches import visible_logs
from spaces.clock import UNSTEADY, clock
from spaces.models import Batch, Space
from tests import factories_identity as made

STEADY_WITHIN_S = 360  # an audience that failed while a store was away waits up to minutes before it is tried again
NAMED = 5  # of those who differ, so many are named
Faults = list[str]
Place = tuple[int, int, int]  # (source, archive batch, position)


class Expected(msgspec.Struct):
    """space: its public id. archived, rejected: by public id of a source, the ids of what was acknowledged."""

    space: str
    archived: dict[str, list[str]]
    rejected: dict[str, list[str]]


class Archived(NamedTuple):
    """One row of the archive, where it stands there."""

    source: int
    piece: int
    position: int
    ts: int
    message: dict[str, Any]

    @property
    def place(self) -> Place:
        return self.source, self.piece, self.position

    @property
    def key(self) -> str:
        """Message ids are each source's own."""
        return f"{self.source}/{self.message['messageId']}"

    @property
    def owners(self) -> int:
        """How many profiles it belongs to, read naively: its person, and the account of a group call."""
        of_group = self.message["type"] == "group" and find_group_identifier(self.message, DEFAULTS)
        return bool(find_user_identifiers(self.message, DEFAULTS)) + bool(of_group)


def main(path: str) -> None:
    """Waits until nothing is under way, compares, and ends the process."""
    everything = msgspec.json.decode(Path(path).read_bytes(), type=list[Expected])
    give_up = time.monotonic() + STEADY_WITHIN_S
    while True:
        with one_moment():
            unsteady = under_way()
            if not unsteady:
                sys.exit(report([fault for expected in everything for fault in compare(expected)]))
        if time.monotonic() > give_up:
            sys.exit(report([f"after {STEADY_WITHIN_S} s there is still something under way: {unsteady}"]))
        time.sleep(0.1)


def report(faults: Faults) -> int:
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults" if faults else "all as it should be")
    return 1 if faults else 0


@contextmanager
def one_moment() -> Iterator[None]:
    """Everything that is read from PostgreSQL is of the moment of the first read."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def under_way() -> str:
    """What some stage still has to do, as far as it is known already; "" when all is at rest."""
    now = clock.now()
    evaluated = Evaluation.objects.filter(space=OuterRef("space")).values("touched")
    found = {
        "requests": Inbox.objects.count(),
        "pieces": [f"{each.log.stage} {each.number} {each.log.error}" for each in Batch.objects.select_related("log")],
        "replays": Replay.objects.filter(state=Replay.State.RUNNING).count(),
        "spaces to resolve": resolve_stage.waiting(now),
        "replays nobody was told of": Graph.objects.filter(untouched=True).count(),
        "change sets": ChangeSet.objects.filter(piece__gt=Coalesce(Subquery(evaluated), 0)).count(),
        "spaces evaluated for a time to come": Evaluation.objects.filter(clock_at__gt=now + UNSTEADY).count(),
        "versions": Version.objects.exclude(state=Version.State.LIVE).count(),
        "calls": Acknowledged.objects.filter(due=True).count(),
        "subscriptions": [f"{each.pk} {each.status}" for each in Subscription.objects.all() if is_behind(each)],
    }
    return "; ".join(f"{name}: {value}" for name, value in found.items() if value)


def is_behind(subscription: Subscription) -> bool:
    new = Change.objects.filter(audience=subscription.audience, tick__gt=subscription.tick)
    in_step = subscription.status == Subscription.Status.IN_STEP
    return not in_step or subscription.full or subscription.pass_tick is not None or new.exists()


def compare(expected: Expected) -> Faults:
    space = Space.objects.get(public_id=expected.space)
    say(space.name, workspace=space.workspace)
    rows = archive_of(space)
    faults = compare_archive(expected, rows) + compare_timeline(space, rows)
    faults += compare_profiles(space, {row.key: row for row in rows})
    for audience in Audience.objects.filter(space=space).select_related("serving"):
        faults += compare_audience(space, audience)
    for trait in ComputedTrait.objects.filter(space=space).select_related("serving"):
        faults += compare_trait(space, trait)
    return [f"{space.workspace}: {fault}" for fault in faults]


# The archive


def archive_of(space: Space) -> list[Archived]:
    """Every visible row of the workspace."""
    sources = Source.objects.filter(workspace=space.workspace_id).values_list("pk", flat=True)
    logs = visible_logs(stage="archive", partitions=list(sources))
    query = sql(
        "SELECT source, piece, position, toUnixTimestamp64Milli(ts), message FROM archive WHERE workspace = %s AND %s",
        space.workspace_id,
        client.seen_by_owner(list(logs.values()), "source"),
    )
    return [Archived(*row, msgspec.json.decode(message)) for *row, message in client.rows(query)]


def compare_archive(expected: Expected, rows: Collection[Archived]) -> Faults:
    """Each acknowledged message is there once, and nothing else; the bad ones are rejects; the tally says so."""
    names = dict(Source.objects.filter(public_id__in=expected.archived).values_list("pk", "public_id"))
    found = Counter((names[row.source], row.message["messageId"]) for row in rows)
    wanted = {(source, id) for source, ids in expected.archived.items() for id in ids}
    refused = {(source, id) for source, ids in expected.rejected.items() for id in ids}
    of_these = Reject.objects.filter(source__in=names, space=None)
    # Equal ones of a request are one reject, which names the first of them and counts all.
    rejects = list(of_these.values_list("source__public_id", "message_id", "messages"))
    rejected = {(source, id) for source, id, _ in rejects}
    unnamed = Counter(source for source, _ in refused - rejected)
    more = Counter(source for source, _, messages in rejects for _ in range(messages - 1))
    tallied = set(Tally.objects.filter(source__in=names).values_list("source__public_id", "archived"))
    say("archive", messages=len(wanted), rows=found.total(), rejects=len(refused))
    return [
        *named("acknowledged, and not archived", wanted - found.keys()),
        *named("archived, and never acknowledged", found.keys() - wanted),
        *named("archived more than once", repeated(found)),
        *named("bad, and not among the rejects, in their source", (unnamed - more).items()),
        *named("among what could not be archived, and not bad", rejected - refused),
        *differing("archived by the tally", tallied, set(Counter(source for source, _ in found).items()), "the rows"),
    ]


# The timeline and the profiles


def compare_timeline(space: Space, rows: Collection[Archived]) -> Faults:
    """Each event that is somebody's is in the timeline once, and once on the page of each profile it belongs to."""
    owners = {row.place: row.owners for row in rows if row.owners}
    found = Counter(place for place, _ in events_in("timeline", space))
    shown = Counter(events_in("profile_events", space))
    pages = Counter(place for place, _ in shown)
    say("timeline", events=len(owners), rows=found.total(), on_pages=shown.total())
    return [
        *named("somebody's, and not in the timeline", owners.keys() - found.keys()),
        *named("in the timeline, and nobody's", found.keys() - owners.keys()),
        *named("more than once in the timeline", repeated(found)),
        *named("more than once on a page", repeated(shown)),
        *differing("(event, pages it is on)", set(pages.items()), set(owners.items()), "the messages"),
        *differing("(event, person)", set(events_in("timeline", space)) - shown.keys(), set(), "the pages"),
    ]


def events_in(table: str, space: Space) -> list[tuple[Place, int]]:
    """Where in the archive each visible row is from, and the number of its profile."""
    query = f"SELECT source, origin_piece, origin_position, profile FROM {table} WHERE " + made.scope(space).condition
    return [((source, piece, position), profile) for source, piece, position, profile in client.rows(query)]


def compare_profiles(space: Space, archived: Mapping[str, Archived]) -> Faults:
    """People, accounts and links are those of the naive resolver, fed in the order that the space recorded."""
    naive = Reference(DEFAULTS)
    for recorded in made.recorded(space):
        row = archived[f"{recorded.source}/{recorded.message_id}"]
        naive.feed(Fed(row.message, row.key, row.ts, row.place))
    people, accounts = profiles_of(space, Profile.Kind.USER), profiles_of(space, Profile.Kind.ACCOUNT)
    merged = Profile.objects.filter(space=space).exclude(merged_into=None).count()
    say("profiles", people=len(people), accounts=len(accounts), merged=merged)
    return [
        *differing("people", people, made.as_sets(naive.profiles()), "the naive resolver"),
        *differing("accounts", accounts, made.as_sets(naive.accounts()), "the naive resolver"),
        *differing("links", made.links(space), naive.links(), "the naive resolver"),
    ]


def profiles_of(space: Space, kind: Profile.Kind) -> set[tuple[Any, ...]]:
    """(identifiers, messages, traits) of each profile that is left."""
    canonical = made.canonical_numbers(space)
    identifiers, messages = defaultdict(set), defaultdict(set)
    for number, type, value in Identifier.objects.filter(space=space).values_list("profile", "type", "value"):
        identifiers[number].add((type, value))
    query = "SELECT profile, concat(toString(source), '/', message_id) FROM profile_events WHERE "
    for number, key in client.rows(query + made.scope(space).condition):
        messages[canonical[number]].add(key)
    left = Profile.objects.filter(space=space, kind=kind, merged_into=None).values_list("number", "traits")
    return {
        (frozenset(identifiers[number]), frozenset(messages[number]), json.dumps(traits, sort_keys=True))
        for number, traits in left
    }


# Audiences and destinations


def compare_audience(space: Space, audience: Audience) -> Faults:
    """The members are those of the full query as of the tick, of the changes together, and of every catcher's list."""
    members = set(audiences.members(audience))
    changes = list(Change.objects.filter(audience=audience).order_by("tick", "pk"))
    told, faults = telescoped(changes)
    causes = Counter(str(change.cause) for change in changes)
    say(audience.key, members=len(members), size=audience.size, **causes)
    faults += differing("members", members, recomputed(space, audience), "the full query")
    faults += differing("members", members, told, "its changes together")
    faults += differing("members", members, logged(space, audience), "the membership log")
    faults += differing("size", {audience.size}, {len(members)}, "its members")
    for subscription in audience.subscriptions.select_related("destination"):
        faults += compare_delivered(subscription, members)
    return [f"{audience.key}: {fault}" for fault in faults]


def compare_trait(space: Space, trait: ComputedTrait) -> Faults:
    """The values are those of the full query as of the tick, and whoever has one is a member."""
    place = Evaluation.objects.get(space=space)
    assert trait.serving
    assert place.clock_at
    asked = Asked(trait.key, trait.serving.node, trait.include_anonymous)
    (full,) = trait_values.computed(audiences.scope_of(space, audiences.resolved(space), place.clock_at), [asked])
    kept = trait_values.kept(space, trait.pk)
    say(trait.key, values=len(kept), size=trait.size)
    faults = differing("values", kept.items(), full.items(), "the full query")
    faults += differing("values", kept, set(audiences.members(trait)), "its members")
    for subscription in trait.subscriptions.select_related("destination"):
        name = subscription.destination.name
        types = destinations.types_of(subscription)
        theirs = Identifier.objects.filter(space=space, profile__in=list(kept), type__in=types)
        wanted = {
            (type, value, json.dumps(json.loads(kept[owner])))
            for type, value, owner in theirs.values_list("type", "value", "profile")
        }
        stated = {
            (*identifier, json.dumps(value))
            for identifier, value in destinations.stated_at_catcher(subscription.destination, trait.key)
            if identifier[0] in types
        }
        say(f"  {name}", holds=len(stated))
        faults += differing(f"stated at {name}", stated, wanted, "the values of the members' identifiers")
    return [f"{trait.key}: {fault}" for fault in faults]


def recomputed(space: Space, audience: Audience) -> set[int]:
    assert audience.serving
    now = Evaluation.objects.get(space=space).clock_at
    definition = audience.serving.node
    found = audiences.matching(space, definition, include_anonymous=audience.include_anonymous, now=now)
    return set(found.members)


def telescoped(changes: Collection[Change]) -> tuple[set[int], Faults]:
    """Who is left when everyone has entered and left in turn; nobody does either twice."""
    inside: set[int] = set()
    faults: Faults = []
    for change in changes:
        entered, left = (set(BitMap.deserialize(bytes(part))) for part in (change.entered, change.left))
        faults += named(f"entered in tick {change.tick}, and was in already", entered & inside)
        faults += named(f"left in tick {change.tick}, and was not in", left - inside)
        inside = (inside - left) | entered
    return inside, faults


def logged(space: Space, audience: Audience) -> set[int]:
    """Who entered once more often than they left, by the copy in ClickHouse."""
    log = visible_logs(stage="evaluate", partitions=[space.pk])[space.pk]
    query = sql(
        "SELECT profile FROM membership_log WHERE workspace = %s AND space = %s AND audience = %s AND %s "
        "GROUP BY profile HAVING sum(if(entered = 1, 1, -1)) = 1",
        space.workspace_id,
        space.pk,
        audience.pk,
        client.seen(log),
    )
    return {profile for (profile,) in client.rows(query)}


def compare_delivered(subscription: Subscription, members: Collection[int]) -> Faults:
    """The destination holds every identifier that stands for a member, and no other."""
    types = destinations.types_of(subscription)  # an anonymous id may go along with an e-mail address
    everything = destinations.members_at_catcher(subscription.destination, subscription.audience.key)
    held = {(type, value) for type, value in everything if type in types}
    theirs = Identifier.objects.filter(space=subscription.space_id, profile__in=members, type__in=types)
    name = subscription.destination.name
    calls = sum(Acknowledged.objects.filter(subscription=subscription).values_list("flip", flat=True))
    say(f"  {name}", holds=len(held), changes=calls)
    return differing(f"held by {name}", held, set(theirs.values_list("type", "value")), "the members' identifiers")


# Words


def say(what: str, **figures: object) -> None:
    print(f"{what}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))


def repeated(found: Counter[Any]) -> set[Any]:
    return {key for key, times in found.items() if times > 1}


def differing(what: str, found: Collection[Any], wanted: Collection[Any], other: str) -> Faults:
    found, wanted = set(found), set(wanted)
    return named(f"{what}, but not by {other}", found - wanted) + named(f"by {other}, but not {what}", wanted - found)


def named(what: str, which: Collection[Any]) -> Faults:
    """One fault that names the first few, none when there are none."""
    if not which:
        return []
    first = ", ".join(sorted(map(readable, which))[:NAMED])
    return [f"{what}: {len(which)}, such as {first}"]


def readable(one: Any) -> str:
    text = str(sorted(one)) if isinstance(one, frozenset) else str(one)
    return text if len(text) < 400 else text[:400] + " …"
