"""An import from the file to profiles and audiences, with workers that die, and its undoing."""

import pytest

from access.services import NotPossible
from audiences.models import Audience
from identity.models import Identifier, Profile
from imports import queries, running, services
from imports.models import ImportPart, ImportProblem, ProfileImport
from imports.reports import rejected_rows
from imports.rules.rows import ColumnUse
from personas_site.retention import retain
from sources.archive import STAGE
from sources.events import client
from sources.events.sql import sql
from sources.models import Inbox, Source
from spaces.batches import advance, open_log
from tests.factories_audiences import World
from tests.factories_identity import NOON, message, resolved
from tests.flows.test_retention import LATER
from tests.flows.test_splits import Killed

pytestmark = pytest.mark.django_db
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
FILE = (
    "email,user_id,plan\n"
    "ada@example.com,u1,pro\n"  # known by her user id, and gains an address
    "bob@example.com,,pro\n"  # known by his address alone
    "cleo@example.com,,pro\n"  # new, with nothing that a message can be sent by
    "nobody,u9,pro\n"
    ",,pro\n"
)


@pytest.fixture
def world():
    world = World()
    world.sent(
        message("identify", userId="u1", traits={"plan": "free"}),
        message("identify", userId="u2", traits={"email": "bob@example.com", "plan": "free"}),
    )
    return world


def uploaded(world, content=FILE):
    of = services.begin(world.space, name="customers.csv", now=NOON)
    services.add_part(of, content.encode(), offset=0, now=NOON)
    services.complete(of, now=NOON)
    of.refresh_from_db()
    return of


def worked(of, world):
    """Until it waits for somebody. Returns it."""
    for _ in range(50):
        while running.advance(of.pk, world.clock):
            pass
        arrived(world)
        of.refresh_from_db()
        if not of.is_at_work:
            return of
        ProfileImport.objects.filter(pk=of.pk).update(retry_at=None)
    raise AssertionError(f"it is still {of.state}: {of.error}")


def arrived(world):
    """What waits in inboxes is archived and resolved."""
    for source in Inbox.objects.values_list("source", "workspace").distinct():
        log = open_log(stage="archive", partition=source[0], workspace_id=source[1])
        while advance(STAGE, log):
            pass
    resolved(world.space)


def checked(of, world):
    services.start_check(of, of.uses, now=NOON)
    return worked(of, world)


def done(of, world):
    checked(of, world)
    services.start(of, clock=world.clock)
    return worked(of, world)


def people(world):
    """{identifiers: plan}."""
    held = {}
    for number, type, value in Identifier.objects.filter(space=world.space).values_list("profile", "type", "value"):
        held.setdefault(number, set()).add("made up" if value.startswith("import-") else f"{type}:{value}")
    alive = Profile.objects.filter(space=world.space, merged_into=None)
    return {tuple(sorted(held[profile.number])): profile.traits.get("plan") for profile in alive}


BEFORE = {("user_id:u1",): "free", ("email:bob@example.com", "user_id:u2"): "free"}


def test_a_file_is_checked_imported_and_undone_and_audiences_follow(world):
    audience = world.audience("pro", PRO)
    world.computed()
    of = checked(uploaded(world), world)
    assert (of.state, of.counts) == ("checked", {"good": 3, "known": 2, "new": 1, "rejected": 2})
    assert people(world) == BEFORE  # nothing was imported yet
    assert of.rules == {"email": 1, "no_identifier": 1}
    assert [row[:3] for row in rejected_rows(of)] == [
        ["5", "email: This is no e-mail address.", "nobody"],
        ["6", "The row has no identifier: nobody can tell whom it is about.", ""],
    ]
    done(of, world)
    assert (of.state, of.sent) == ("done", {"good": 3, "rejected": 2})
    assert people(world) == {
        ("email:ada@example.com", "user_id:u1"): "pro",
        ("email:bob@example.com", "user_id:u2"): "pro",
        ("email:cleo@example.com", "made up"): "pro",
    }
    world.ticked()
    assert world.members(Audience.objects.get(pk=audience.pk)) == {"u1", "u2"}  # who has no user id is not in the set
    world.sent(message("identify", at=1, userId="u2", traits={"plan": "team"}))
    services.undo(of, now=NOON)
    worked(of, world)
    assert (of.state, of.people) == ("undone", 3)
    # What something has written since stays.
    assert people(world) == BEFORE | {("email:bob@example.com", "user_id:u2"): "team"}
    world.ticked()
    assert world.members(Audience.objects.get(pk=audience.pk)) == set()
    for table in ("timeline", "profile_events", "traits"):
        assert not client.rows(sql(f"SELECT 1 FROM {table} WHERE source = %s", of.source_id)), table
    assert not Source.objects.filter(pk=of.source_id).exists()
    with pytest.raises(NotPossible):
        services.undo(of, now=NOON)


def test_the_same_file_twice_makes_nobody_twice(world):
    done(uploaded(world), world)
    before = people(world)
    done(uploaded(world), world)
    assert people(world) == before


def test_whoever_dies_between_two_parts_loses_and_doubles_nothing(world, monkeypatch):
    rows = [f"new{place}@example.com,,p{place}" for place in range(23)]
    of = checked(uploaded(world, "email,user_id,plan\n" + "\n".join(rows)), world)
    services.start(of, clock=world.clock)
    monkeypatch.setattr(running, "AT_A_TIME", 5)
    deaths = iter([1, 3])
    kept, calls, next_death = running.keep, [], [next(deaths)]

    def keep(*args, **kwargs):
        calls.append(1)
        kept(*args, **kwargs)
        if len(calls) == next_death[0]:  # what was kept is rolled back with the place
            next_death[0] = next(deaths, 0)
            raise Killed

    monkeypatch.setattr(running, "keep", keep)
    for _ in range(2):
        with pytest.raises(Killed):
            worked(of, world)
    worked(of, world)
    assert (of.state, of.sent) == ("done", {"good": 23})
    ids = client.rows(sql("SELECT message_id FROM archive WHERE source = %s", of.source_id))
    assert sorted(int(id.rpartition("-")[2]) for (id,) in ids) == list(range(2, 25))
    assert len(people(world)) == 25


def test_a_run_that_is_cancelled_sends_no_more_and_what_it_sent_can_be_undone(world, monkeypatch):
    of = checked(uploaded(world), world)
    monkeypatch.setattr(running, "AT_A_TIME", 2)
    services.start(of, clock=world.clock)
    assert running.advance(of.pk, world.clock)
    services.cancel(of, now=NOON)
    worked(of, world)
    assert (of.state, of.sent) == ("cancelled", {"good": 1})
    assert not running.advance(of.pk, world.clock)
    services.undo(of, now=NOON)
    worked(of, world)
    assert people(world) == BEFORE


def test_a_part_that_is_sent_again_changes_nothing_and_a_gap_is_refused(world):
    of = services.begin(world.space, name="x.csv", now=NOON)
    services.add_part(of, b"email\na@", offset=0, now=NOON)
    services.add_part(of, b"email\na@", offset=0, now=NOON)
    with pytest.raises(NotPossible, match="begins at byte 8"):
        services.add_part(of, b"c", offset=9, now=NOON)
    services.add_part(of, b"b.cd\n", offset=8, now=NOON)
    services.complete(of, now=NOON)
    of.refresh_from_db()
    assert [record.values for record in queries.preview(of)] == [["a@b.cd"]]


def test_a_full_inbox_makes_it_wait(world, settings):
    of = checked(uploaded(world), world)
    services.start(of, clock=world.clock)
    settings.INBOX_MAX_BYTES = 1
    assert not running.advance(of.pk, world.clock)
    of.refresh_from_db()
    assert (of.state, of.row, of.error) == ("running", 0, "The inbox is full. Try again later.")
    settings.INBOX_MAX_BYTES = 10**9
    world.clock.advance(running.SOON)
    assert worked(of, world).state == "done"


def test_files_go_after_a_month_and_the_history_later(world):
    of = done(uploaded(world), world)
    waits = services.begin(world.space, name="x.csv", now=NOON)
    retain(NOON)
    assert ImportPart.objects.exists()
    assert ImportProblem.objects.exists()
    retain(NOON + running.LATER + (LATER / 30))
    assert not ImportPart.objects.exists()
    assert not ImportProblem.objects.exists()
    assert ProfileImport.objects.filter(pk__in=[of.pk, waits.pk]).count() == 2
    with pytest.raises(NotPossible, match="not kept"):
        services.start_check(waits, [ColumnUse("identifier", "email")], now=NOON)
    retain(NOON + LATER)
    assert not ProfileImport.objects.exists()


def test_a_space_checks_by_its_own_rules(world):
    of = uploaded(world)
    world.space.identity_policy = {"identifiers": [{"type": "user_id"}]}
    world.space.save()
    with pytest.raises(services.MappingError, match="email is no identifier"):
        services.start_check(ProfileImport.objects.get(pk=of.pk), of.uses, now=NOON)
