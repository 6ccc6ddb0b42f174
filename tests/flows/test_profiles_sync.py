"""What a warehouse has after many syncs is what a first one would bring: people, events, and whom they were told of."""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings as django_settings

from access.services import COMMAND, delete_space
from audiences import services as audiences
from audiences.rules.warehouse import WarehouseError
from identity.models import ChangeReader, ChangeSet, Identifier, Profile, ProfileSplit
from identity.rules.policy import DEFAULT_POLICY, Blocked
from personas_site import erasure
from privacy import erasing
from privacy.models import Regulation
from privacy.queries import unreachable
from privacy.rules.subjects import subjects
from privacy.services import regulate
from profiles_sync import running, services
from profiles_sync.models import ProfilesSync, SyncedMembers, SyncedProfile, SyncRun
from profiles_sync.rules.tables import USER_IDENTIFIERS
from profiles_sync.rules.warehouse import TableBatch
from profiles_sync.stores import postgresql
from spaces.models import Deletion
from tests import warehouses
from tests.factories_audiences import World
from tests.factories_identity import message, resolved
from tests.flows.test_rule_changes import applied, tried
from tests.flows.test_sync_kills import forked
from tests.synced import TARGETS, Tables, Target

pytestmark = pytest.mark.django_db(transaction=True)
BUYERS = {"kind": "event", "name": "Ordered"}
SPENT = {"kind": "event_counter", "name": "Ordered"}
MINUTE = timedelta(minutes=1)
POINTS = ("numbered", "writing", "written")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    with TARGETS["postgresql"]() as opened:
        monkeypatch.setattr(django_settings, "OUTBOUND_ALLOW", [opened.place])
        yield opened


def new(world: World, target: Target, name: str = "personas", **more: Any) -> ProfilesSync:
    settings = target.settings(name)
    return services.create_sync(
        world.space, kind=target.kind, name=name, settings=settings, clock=world.clock, by=COMMAND, **more
    )


def ran(world: World, sync: ProfilesSync, **more: Any) -> SyncRun:
    """After a run to its end."""
    services.run_now(sync, clock=world.clock, by=COMMAND, **more)
    for _ in range(200):
        running.advance(sync.pk, world.clock)
        run = sync.runs.latest("pk")
        if run.state != "running":
            return run
        assert not run.error, run.error
    raise AssertionError("it does not end")


def fresh(world: World, target: Target, name: str) -> Tables:
    """What a first sync brings now."""
    assert ran(world, new(world, target, name)).state == "done"
    return target.tables(name)


def same(one: Tables, other: Tables) -> None:
    """Tables that have become empty count for nothing: a first sync does not make them."""
    for table in one.keys() | other.keys():
        assert one.get(table, set()) == other.get(table, set()), table


class Dice:
    """A space to which things happen by chance, and the same ones for the same seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random = world, random.Random(seed)
        self.audiences: list[Any] = []

    def happen(self, times: int) -> None:
        for _ in range(times):
            self.random.choices([self.event, self.identify, self.join, self.split, self.erase], [6, 4, 3, 1, 1])[0]()
        self.settle()

    def settle(self) -> None:
        resolved(self.world.space)
        self.world.computed()
        self.world.later(MINUTE)

    def somebody(self) -> dict[str, str]:
        name, which = self.random.choice(["userId", "anonymousId"]), self.random.randrange(6)
        return {name: f"{name[0]}{which}"}

    def event(self) -> None:
        name = self.random.choice(["Ordered", "order seen", "Tracks"])
        properties = {"price": self.random.random(), self.random.choice("abc"): {"deep": [1, {"x": None}]}}
        self.world.sent(message(event=name, properties=properties, context={"page": {"url": "/a"}}, **self.somebody()))

    def identify(self) -> None:
        traits = {self.random.choice(["tier", "city", "uuid ts"]): self.random.choice(["gold", 3, None, {"a": 1}])}
        self.world.sent(message("identify", traits=traits, **self.somebody()))

    def join(self) -> None:
        which = self.random.randrange(6)
        self.world.sent(message("identify", userId=f"u{which}", anonymousId=f"a{self.random.randrange(6)}", traits={}))
        self.world.sent(message("group", userId=f"u{which}", groupId="g1", traits={"name": "Acme"}))

    def split(self) -> None:
        space = self.world.space
        pairs: dict[int, list[tuple[str, str]]] = {}
        for row in Identifier.objects.filter(space=space, type__in=["user_id", "anonymous_id"]).order_by("number"):
            pairs.setdefault(row.profile, []).append((row.type, row.value))
        several = [(profile, own) for profile, own in pairs.items() if len(own) > 1 and profile]
        if several:
            profile, own = self.random.choice(several)
            ProfileSplit.objects.create(
                workspace=space.workspace, space=space, profile=profile, taken=[[*own[0]]], left=[[*own[-1]]]
            )
            resolved(space)

    def erase(self) -> None:
        (value,) = self.somebody().values()
        type = "user_id" if value[0] == "u" else "anonymous_id"
        erased(self.world, type, value)


def erased(world: World, type: str, value: str) -> Regulation:
    now = world.clock.now()
    regulation = regulate(
        world.space.workspace, kind="DELETE_ONLY", subjects=subjects([(type, value)]), space=None, now=now, by=COMMAND
    )
    for _ in range(50):
        erasing.advance(regulation.pk, world.clock)
        world.ticked()
        regulation.refresh_from_db()
        if regulation.finished_at:
            return regulation
        if regulation.next_at:
            world.clock.at = max(world.clock.now(), regulation.next_at)
    raise AssertionError(regulation.step)


def killed(world: World, sync: ProfilesSync, point: str, folder: Path) -> bool:
    """Whether a process of its own, which runs the sync to its end, was killed at the point."""
    (folder / "faults").write_text(point)
    services.run_now(sync, clock=world.clock, by=COMMAND)

    def work() -> None:
        os.environ["PERSONAS_FAULTS"] = str(folder / "faults")
        while running.advance(sync.pk, world.clock):
            pass

    _, status = os.waitpid(forked(work), 0)
    return os.WIFSIGNALED(status)


def test_after_many_syncs_and_deaths_everything_is_as_after_a_first_one(
    world: World, monkeypatch: Any, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        targets = [stack.enter_context(TARGETS[kind]()) for kind in TARGETS]
        monkeypatch.setattr(django_settings, "OUTBOUND_ALLOW", [target.place for target in targets])
        kinds = running.all_stores()
        # Small batches, so that many end within somebody's events, and between people who become one.
        few = {name: replace(kind, people=3, events=7) for name, kind in kinds.items()}
        monkeypatch.setattr(running, "all_stores", lambda: few)
        dice = Dice(world, 7)
        world.audience("buyers", BUYERS)
        world.audience("spent", SPENT, kind="trait")
        dice.happen(7)
        syncs = [(new(world, target), target) for target in targets]
        for point in POINTS:
            for sync, _ in syncs:
                assert killed(world, sync, f"profiles_sync:{point}", tmp_path)
            dice.happen(4)
            for sync, _ in syncs:
                assert ran(world, sync).state == "done"
            dice.happen(4)
        audience = world.audience("seen", BUYERS | {"name": "order seen"})
        dice.settle()
        monkeypatch.setattr(running, "all_stores", lambda: kinds)
        for sync, target in syncs:
            assert ran(world, sync).state == "done"
            first = fresh(world, target, "first")
            assert len([table for table, rows in first.items() if rows]) > 12
            same(target.tables("personas"), first)
            assert ran(world, sync).rows == {}  # nothing happened, and nothing is written
        audiences.delete_audience(audience, now=world.clock.now(), by=COMMAND)
        world.later(MINUTE)
        for sync, target in syncs:
            ran(world, sync)
            same(target.tables("personas"), fresh(world, target, "second"))


def test_rows_are_as_in_segments_own_example(world: World, target: Target) -> None:
    jane = {"email": "jane@example.com"}
    page = {"context": {"page": {"url": "/a"}}}
    world.sent(message("page", at=0, id="event_1", anonymousId="a1", **page))
    world.sent(message("identify", at=1, id="event_2", anonymousId="a1", traits=jane))
    world.sent(message("page", at=2, id="event_3", anonymousId="a2", name="Home", properties={"path": "/"}, **page))
    sync = new(world, target)
    ran(world, sync)
    graph = "SELECT segment_id, canonical_segment_id, triggering_event_type, triggering_event_id"
    graph += " FROM personas.id_graph_updates ORDER BY timestamp, 1, 2"
    one, two = Profile.objects.filter(space=world.space).order_by("number").values_list("public_id", flat=True)
    created = [(one, one, "page", "event_1"), (two, two, "page", "event_3")]
    assert target.raw(graph) == created
    world.sent(message("identify", at=3, id="event_4", anonymousId="a2", traits=jane | {"plan": {"tier": "pro"}}))
    run = ran(world, sync)
    assert target.raw(graph) == [*created, (two, one, "identify", "event_4")]
    mapping = "SELECT segment_id, external_id_type, external_id_value, triggering_event_id, triggering_event_source_id"
    mapping += " FROM personas.external_id_mapping_updates ORDER BY seq"
    source = world.source.public_id
    assert target.raw(mapping) == [
        (one, "anonymous_id", "a1", "event_1", source),
        (one, "email", "jane@example.com", "event_2", source),
        (two, "anonymous_id", "a2", "event_3", source),
    ]
    assert target.raw("SELECT segment_id, canonical_segment_id FROM personas.profile_merges ORDER BY seq") == [
        (one, one),
        (two, one),
    ]
    traits = target.raw("SELECT canonical_segment_id, name, value FROM personas.user_traits ORDER BY name")
    assert traits == [(one, "email", "jane@example.com"), (one, "plan", '{"tier":"pro"}')]
    columns = "segment_id, id, anonymous_id, name, path, context_page_url, event_source_id"
    assert target.raw(f"SELECT {columns} FROM personas.pages ORDER BY timestamp") == [
        (one, "event_1", "a1", None, None, "/a", source),
        (two, "event_3", "a2", "Home", "/", "/a", source),
    ]
    updates = target.raw("SELECT id, segment_id, email, plan_tier FROM personas.profile_traits_updates ORDER BY seq")
    # An event that merges is the winner's from the start.
    assert updates == [("event_2", one, "jane@example.com", None), ("event_4", one, "jane@example.com", "pro")]
    assert run.rows["id_graph_updates"] == 3


def test_change_sets_are_kept_until_a_sync_has_seen_them(world: World, target: Target) -> None:
    sync = new(world, target)
    ran(world, sync)
    services.change_sync(sync, enabled=False, clock=world.clock, by=COMMAND)
    world.audience("buyers", BUYERS)
    world.did("u1", "Ordered")
    world.computed()
    world.did("u2", "Ordered")
    world.ticked()
    assert ChangeSet.objects.filter(space=world.space).exists()
    world.clock.advance(running.LOOKED_EVERY)
    assert not running.advance(sync.pk, world.clock)  # it looks, though it is switched off, and writes nothing
    assert not SyncRun.objects.filter(sync=sync, state="running").exists()
    world.did("u3", "Ordered")
    world.ticked()
    assert ChangeSet.objects.filter(space=world.space).values("piece").distinct().count() == 1
    services.change_sync(sync, enabled=True, clock=world.clock, by=COMMAND)
    ran(world, sync)
    assert len(target.tables("personas")["user_identifiers"]) == 3


def test_a_warehouse_that_refuses_says_why_and_the_run_goes_on_from_there(world: World, target: Target) -> None:
    world.did("u1", "Ordered")
    sync = new(world, target)
    ran(world, sync)
    world.did("u2", "Ordered")
    table = "ALTER TABLE personas.user_identifiers"
    warehouses.execute(target.settings("x"), f"{table} ADD CONSTRAINT no_u2 CHECK (value <> 'u2')")
    services.run_now(sync, clock=world.clock, by=COMMAND)
    for _ in range(running.MOST_TRIES + 3):
        while running.advance(sync.pk, world.clock):
            pass
        world.clock.advance(timedelta(minutes=6))
    run = sync.runs.latest("pk")
    assert (run.state, run.people_done, run.events_done) == ("failed", 0, 1)
    assert "violates check constraint" in run.error
    assert "u2," not in run.error  # of the row, which PostgreSQL quotes
    assert len(target.tables("personas")["tracks"]) == 2
    warehouses.execute(target.settings("x"), f"{table} DROP CONSTRAINT no_u2")
    run = ran(world, sync)
    assert (run.state, run.people_done, run.events_done) == ("done", 1, 0)
    assert len(target.tables("personas")["user_identifiers"]) == 2


def test_only_what_was_chosen_is_synced_and_erased_people_go_from_all_tables(world: World, target: Target) -> None:
    world.did("u1", "Ordered")
    world.did("u1", "Seen")
    world.sent(message("identify", userId="u1", traits={"city": "Ulm", "secret": "x"}))
    world.sent(message("identify", userId="u2", traits={"city": "Ulm"}))
    sync = new(world, target, events=["Ordered"], traits=["city"])
    ran(world, sync)
    tables = target.tables("personas")
    assert {"ordered", "tracks"} < tables.keys()
    assert "seen" not in tables
    assert [len(tables[name]) for name in ("tracks", "user_traits", "identifies")] == [1, 2, 2]
    services.run_now(sync, clock=world.clock, by=COMMAND)
    assert running.advance(sync.pk, world.clock)  # a run is under way, with what was chosen before
    services.change_sync(sync, tables=["user_traits"], events=[], traits=[], clock=world.clock, by=COMMAND)
    assert sync.runs.latest("pk").state == "cancelled"
    assert ran(world, sync).rows == {"user_traits": 3}
    regulation = erased(world, "user_id", "u1")
    assert "The warehouse personas of Profiles Sync takes them out in its next run." in unreachable(regulation)
    assert ran(world, sync).removed == 1
    tables = target.tables("personas")
    assert [len(rows) for name, rows in tables.items() if name in ("tracks", "ordered")] == [0, 0]
    assert [len(tables[name]) for name in ("user_traits", "identifies", "user_identifiers")] == [1, 1, 1]


def test_events_that_somebody_loses_go_from_the_warehouse(world: World, target: Target) -> None:
    """With those of somebody who is erased, and since the rules that are applied find nobody on them."""
    for user in ("u1", "u2"):
        world.did(user, "Seen", anonymousId="a1")  # the second time it stays with the first
    world.did("u3", "Seen", anonymousId="a3")
    world.sent(message(anonymousId="a3"))
    world.did("u3", "Seen")
    sync = new(world, target)
    ran(world, sync)
    assert len(target.tables("personas")["tracks"]) == 5
    erased(world, "anonymous_id", "a1")
    ran(world, sync)
    assert len(target.tables("personas")["tracks"]) == 3
    same(target.tables("personas"), fresh(world, target, "first"))
    changed = msgspec.structs.replace
    rules = [
        changed(one, blocked=Blocked(("a3",))) if one.type == "anonymous_id" else one
        for one in DEFAULT_POLICY.identifiers
    ]
    applied(tried(world.space, changed(DEFAULT_POLICY, identifiers=tuple(rules))))
    ran(world, sync)
    assert len(target.tables("personas")["tracks"]) == 2
    same(target.tables("personas"), fresh(world, target, "second"))


def test_whoever_is_what_they_were_before_a_merge_is_in_the_tables_again(world: World, target: Target) -> None:
    world.did("u1", "Seen")
    world.sent(message(anonymousId="a1"))
    sync = new(world, target)
    ran(world, sync)
    alone = target.tables("personas")["user_identifiers"]
    world.did("u1", "Seen", anonymousId="a1")
    ran(world, sync)
    split = {"taken": [["anonymous_id", "a1"]], "left": [["user_id", "u1"]]}
    ProfileSplit.objects.create(workspace=world.space.workspace, space=world.space, profile=1, **split)
    resolved(world.space)
    ran(world, sync)
    assert target.tables("personas")["user_identifiers"] == alone
    same(target.tables("personas"), fresh(world, target, "first"))


def test_a_run_that_is_cancelled_while_it_writes_is_not_noted_and_done_once_more(
    world: World, target: Target, monkeypatch: Any
) -> None:
    world.did("u1", "Ordered")
    sync = new(world, target)
    write = postgresql.PostgresqlWriter.write

    def cancelled(writer: Any, *batch: Any) -> None:
        write(writer, *batch)
        services.cancel_run(sync, clock=world.clock, by=COMMAND)

    with monkeypatch.context() as patched:
        patched.setattr(postgresql.PostgresqlWriter, "write", cancelled)
        while running.advance(sync.pk, world.clock):
            pass
    run = sync.runs.get()
    assert (run.state, run.rows, run.people_done) == ("cancelled", {}, 0)
    assert ran(world, sync).rows["tracks"] == 1
    same(target.tables("personas"), fresh(world, target, "first"))
    # Whoever slept in the middle of an older batch writes nothing when it wakes up.
    before, settings = target.tables("personas"), running.settings_of(sync)
    forgotten = {USER_IDENTIFIERS: [Profile.objects.get().public_id]}
    with pytest.raises(WarehouseError, match="later batch"), postgresql.store.open(settings) as writer:
        writer.write(TableBatch(1, world.clock.now(), forgotten=forgotten), {})
    same(target.tables("personas"), before)


def test_who_became_again_what_they_were_after_a_death_is_told_once_more(
    world: World, target: Target, tmp_path: Path
) -> None:
    world.sent(message("identify", userId="u1", traits={"tier": "gold"}))
    sync = new(world, target)
    ran(world, sync)
    services.change_sync(sync, tables=["user_traits"], clock=world.clock, by=COMMAND)  # no batch of events before it
    ran(world, sync)
    before = Profile.objects.get(space=world.space)
    world.sent(message("identify", userId="u1", traits={"tier": "tin"}))
    assert killed(world, sync, "profiles_sync:written", tmp_path)
    before.save()
    ran(world, sync)
    assert target.raw("SELECT value FROM personas.user_traits") == [("gold",)]


def test_at_another_place_everything_is_told_and_dropped_tables_come_back(world: World, target: Target) -> None:
    world.did("u1", "Ordered")
    world.did("u2", "Ordered")
    sync = new(world, target)
    ran(world, sync)
    services.change_sync(sync, settings=target.settings("other"), clock=world.clock, by=COMMAND)
    ran(world, sync)
    same(target.tables("other"), target.tables("personas"))
    erased(world, "user_id", "u2")
    warehouses.execute(target.settings("other"), "DROP TABLE other.tracks")
    ran(world, sync, anew=True)
    same(target.tables("other"), fresh(world, target, "first"))
    assert not SyncedProfile.objects.filter(sync=sync, number=2).exists()


def test_with_its_space_a_sync_goes(world: World, target: Target) -> None:
    world.did("u1", "Ordered")
    sync = new(world, target)
    ran(world, sync)
    delete_space(world.space, by=COMMAND)
    assert running.due(world.clock.now() + timedelta(days=1)) == []
    now = world.clock.now()
    deletion = Deletion.objects.get()
    while erasure.advance(deletion.pk, now):
        pass
    for model in (ProfilesSync, SyncRun, SyncedProfile, SyncedMembers, ChangeReader):
        assert not model.objects.exists()
