"""What is deleted is out of sight at once, and is erased from every store; what belongs to others stays as it was."""

import os
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.apps import apps
from django.conf import settings

from access.services import COMMAND, delete_space
from audiences import services as audiences
from audiences.models import Audience, Change
from benchmarks.stack import until
from destinations import services as destinations
from destinations.models import Acknowledged, Destination, Subscription
from destinations.sync import Sync
from personas_site import erasure
from personas_site.embedded.paths import Paths
from sources import services as sources
from sources.events import client
from sources.events.compaction import compact
from sources.events.schema import TABLES
from sources.events.sql import Sql, sql
from sources.models import Reject, Source
from spaces.batches import advance, open_log
from spaces.models import Deletion, Log, Space
from tests.factories import SpaceFactory
from tests.factories_audiences import World
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_identity import message
from tests.factories_sources import RejectFactory, archive_all, send, track

pytestmark = pytest.mark.django_db
ORDERED = {"kind": "event", "name": "Ordered"}


class Shop(World):
    """A world with people in an audience that went to a catcher. word: in everything that is theirs."""

    def __init__(self, word: str, space: Space | None = None) -> None:
        super().__init__(space)
        self.sent(message("identify", userId=word, traits={"email": f"{word}@x.org", "motto": word}))
        self.did(word, "Ordered", properties={"secret": word})
        self.buyers = self.audience(f"{word}-buyers", ORDERED)
        self.computed()
        self.destination = make_destination(self.space)
        self.subscription = make_subscription(self.buyers, self.destination)
        log = open_log(stage="sync", partition=self.subscription.pk, workspace_id=self.space.workspace_id)
        while advance(Sync(self.clock), log):
            pass
        send(self.source, track(userId=word))
        archive_all(self.source)
        RejectFactory(source=self.source, message=word)

    @property
    def scope(self):
        return sql("workspace = %s AND space = %s", self.space.workspace_id, self.space.pk)

    def counts(self) -> dict[str, int]:
        """Rows by table, of the space and of its source."""
        found = {table.name: rows_in(table.name, self.scope) for table in TABLES if "space" in table.columns}
        mine = sql("workspace = %s AND source = %s", self.space.workspace_id, self.source.pk)
        return found | {"archive": rows_in("archive", mine)} | rows_of(Space, self.space) | rows_of(Source, self.source)


def rows_in(table: str, condition) -> int:
    return client.rows(sql(f"SELECT count() FROM {table} WHERE %s", condition))[0][0]


def rows_of(root, thing) -> dict[str, int]:
    """Of every model that leads to it, also such as are not erased by parts."""
    found = {}
    for model in apps.get_models():
        path = erasure._cascade_path(model, root)
        if path:
            found[f"{model._meta.db_table}.{path}"] = model._base_manager.filter(**{path: thing.pk}).count()
    return found


def erased(now) -> list[Deletion]:
    """Everything that can be erased now is; the deletions, oldest first."""
    while pending := list(erasure.due(now)):
        for pk in pending:
            assert erasure.advance(pk, now)
    return list(Deletion.objects.order_by("pk"))


def test_a_space_is_out_of_sight_at_once_and_then_gone_from_every_table():
    going, staying = Shop("going"), Shop("staying")
    beside = Shop("beside", SpaceFactory(workspace=going.space.workspace))
    before = staying.counts(), beside.counts()
    assert all(going.counts()[table] for table in ("timeline", "profile_events", "traits", "profiles", "delivery_log"))
    delete_space(going.space, by=COMMAND)
    assert not Space.objects.filter(pk=going.space.pk).exists()
    (deletion,) = erased(going.clock.now())
    assert (deletion.state, deletion.table) == (Deletion.State.CHECKING, "")
    assert deletion.done == deletion.total > 10
    left = {name: count for name, count in going.counts().items() if count}
    assert all(name.startswith(("sources_", "archive")) and name.endswith((".source", "archive")) for name in left), (
        left
    )
    assert not Log.objects.filter(stage__in=("resolve", "evaluate"), partition=going.space.pk).exists()
    assert not Log.objects.filter(stage="sync", partition=going.subscription.pk).exists()
    assert (staying.counts(), beside.counts()) == before


def test_what_was_written_late_is_erased_by_the_check():
    going, clock = Shop("going"), Shop("other").clock
    delete_space(going.space, by=COMMAND)
    (deletion,) = erased(clock.now())
    late = "INSERT INTO overlay VALUES (%s, %s, 99, 1, 2)"
    client.run(sql(late, going.space.workspace_id, going.space.pk))
    assert list(erasure.due(clock.now())) == []
    clock.advance(erasure.CHECKED_AFTER)
    (deletion,) = erased(clock.now())
    assert (deletion.state, deletion.finished_at) == (Deletion.State.DONE, clock.now())
    assert rows_in("overlay", going.scope) == 0
    assert deletion.erased["overlay"] == 1
    assert list(erasure.due(clock.now() + timedelta(days=9))) == []


class Killed(BaseException):
    """The process ends here."""


def test_a_deletion_whose_process_ends_after_each_part_is_gone_on_with(monkeypatch):
    """What the part erased is gone, and nobody has written down that it is."""
    going, survived, parts = Shop("going"), set(), erasure._parts

    def mortal(deletion):
        for part in parts(deletion):

            def die_once(part=part):
                erased = part.erase()
                if erased and part.table not in survived:
                    survived.add(part.table)
                    raise Killed
                return erased

            yield replace(part, erase=die_once)

    monkeypatch.setattr(erasure, "_parts", mortal)
    held = {name.partition(".")[0] for name, count in going.counts().items() if count and not name.endswith(".source")}
    delete_space(going.space, by=COMMAND)
    deletion = None
    while not deletion:
        with suppress(Killed):
            (deletion,) = erased(going.clock.now())
    assert deletion.state == Deletion.State.CHECKING
    assert survived >= held & {part.table for part in parts(deletion)}
    assert not any(count for name, count in going.counts().items() if not name.endswith((".source", "archive")))


def test_a_source_takes_nothing_more_and_its_archive_goes_while_profiles_stay():
    shop, other = Shop("shop"), Shop("other")
    profiles, before = rows_in("timeline", shop.scope), other.counts()
    sources.delete_source(shop.source)
    assert not Source.objects.filter(pk=shop.source.pk).exists()
    assert not shop.source.write_keys.exists()
    erased(shop.clock.now())
    left = shop.counts()
    assert left["archive"] == 0
    assert not any(count for name, count in left.items() if name.endswith(".source")), left
    assert not Reject.objects.filter(source=shop.source.pk).exists()
    assert left["timeline"] == profiles
    assert other.counts() == before


def test_a_destination_goes_with_what_it_was_sent():
    shop, other = Shop("shop"), Shop("other")
    before = other.counts()
    destinations.delete_destination(shop.destination, by=COMMAND)
    assert not Subscription.objects.filter(audience=shop.buyers).exists()
    erased(shop.clock.now())
    assert rows_in("delivery_log", shop.scope) == 0
    assert not Destination.everything.filter(pk=shop.destination.pk).exists()
    assert not Acknowledged.objects.filter(subscription=shop.subscription.pk).exists()
    assert other.counts() == before
    assert Change.objects.filter(audience=shop.buyers).exists()


def test_an_audience_can_go_there_again_while_what_it_sent_before_is_erased():
    shop = Shop("shop")
    destinations.unsubscribe(shop.subscription, by=COMMAND)
    again = make_subscription(shop.buyers, shop.destination)
    erased(shop.clock.now())
    assert rows_in("delivery_log", shop.scope) == 0
    assert list(Subscription.everything.filter(audience=shop.buyers)) == [again]


def test_of_an_audience_only_its_key_stays():
    shop, other = Shop("shop"), Shop("other")
    before = other.counts()
    audiences.delete_audience(shop.buyers, now=shop.clock.now(), by=COMMAND)
    erased(shop.clock.now())
    assert rows_in("membership_log", shop.scope) == rows_in("delivery_log", shop.scope) == 0
    assert not Change.objects.filter(audience=shop.buyers).exists()
    assert Audience.objects.get(pk=shop.buyers.pk).key == "shop-buyers"
    assert other.counts() == before


@pytest.mark.django_db(transaction=True)
def test_no_file_of_any_store_holds_a_word_of_a_deleted_space_and_source():
    word = "zanzibar-7f3a9c"
    for table in TABLES:  # the engine drops old parts at once, and not in its own time
        quick = "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1"
        client.run(sql(f"ALTER TABLE {table.name} MODIFY SETTING {quick}, cleanup_delay_period_random_add = 0"))
    Shop("somebody-else")  # statistics of a table are taken anew while there is a row in it
    shop = Shop(word)
    as_owner("CHECKPOINT")
    assert {Path(each).relative_to(settings.PERSONAS_HOME).parts[0] for each in files_with(word)} >= {
        "pg",
        "clickhouse",
    }
    delete_space(shop.space, by=COMMAND)
    sources.delete_source(shop.source)
    erased(shop.clock.now())
    shop.clock.advance(erasure.CHECKED_AFTER)
    assert {each.state for each in erased(shop.clock.now())} == {Deletion.State.DONE}
    Deletion.objects.all().delete()
    for _ in range(5):  # an old snapshot may keep what it may look at
        clean_up()
        with suppress(TimeoutError):
            until(lambda: not files_with(word), within_s=20, every_s=1)
            break
    assert files_with(word) == []


def test_what_the_engine_set_aside_is_gone_after_a_day():
    (folder,) = (path for (path,) in client.rows(Sql("SELECT data_paths[1] FROM system.tables WHERE name = 'overlay'")))
    old, new = (Path(folder, "detached", f"broken-on-start_all_{n}_{n}_0") for n in (1, 2))
    for part in (old, new):
        part.mkdir()
    os.utime(old, (0, 0))
    compact()
    assert (old.exists(), new.exists()) == (False, True)
    new.rmdir()


def files_with(word: str) -> list[str]:
    command = ["grep", "-r", "-l", "-a", "-F", word, str(settings.PERSONAS_HOME)]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def clean_up() -> None:
    """What the stores do by themselves in time: ClickHouse drops old parts, PostgreSQL reuses pages and its log."""
    compact()
    for table in TABLES:  # the thread that drops old parts of a table that was idle looks every five minutes only
        client.run(sql(f"DETACH TABLE {table.name} SYNC"))
        client.run(sql(f"ATTACH TABLE {table.name}"))
    as_owner("VACUUM (FULL, ANALYZE)")
    for _ in range(as_owner("SELECT count(*) FROM pg_ls_waldir()") + 2):  # what is left of a segment becomes zeros
        as_owner("SELECT pg_logical_emit_message(false, '', '')")
        as_owner("SELECT pg_switch_wal()::text")
        as_owner("CHECKPOINT")


def as_owner(statement: str) -> Any:
    """Run by whom the cluster belongs to; the first value of its answer."""
    connection = psycopg2.connect(Paths(Path(settings.PERSONAS_HOME)).database_owner_url)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()
