"""Whoever is erased is gone from profiles, events, audiences, destinations and every file; others stay as they were."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from pyroaring import BitMap

from access.services import COMMAND
from audiences import queries
from audiences.models import Audience
from benchmarks.stack import until
from destinations.models import Acknowledged, Caught
from destinations.sync import Sync
from identity import erasure
from identity.models import ChangeSet, Evidence, Identifier, Profile, ProfileSplit
from identity.resolve_stage import Resolve
from identity.rules.policy import Definition, Policy
from privacy import erasing
from privacy.models import Regulation
from privacy.queries import destinations_of
from privacy.rules.subjects import subjects
from privacy.services import regulate
from sources.events import client, people
from sources.events.schema import ARCHIVE, TABLES
from sources.events.sql import sql
from sources.models import Reject
from sources.queries import count_messages
from spaces.batches import Overtaken, advance, open_log
from tests.factories import SpaceFactory
from tests.factories_audiences import World
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_identity import archived, listening, message, resolved, stage
from tests.factories_sources import RejectFactory, archive_all, send, track
from tests.flows.test_deletions import as_owner, clean_up, files_with, rows_in
from tests.receiver import Reply, receiving

pytestmark = pytest.mark.django_db
ORDERED = {"kind": "event", "name": "Ordered"}
State = Regulation.State


class Shop(World):
    """Buyers `word` and `other`, who went to a destination; word stands in everything that is theirs."""

    def __init__(self, word, kind="catcher", space=None, **settings):
        super().__init__(space)
        self.word = word
        self.sent(message("identify", userId=f"{word}-1", anonymousId=f"{word}-a", traits={"email": f"{word}@x.org"}))
        self.sent(message("identify", userId=f"{word}-1", traits={"motto": f"{word} rules", "loyalty": word}))
        self.did(f"{word}-1", "Ordered", properties={"secret": f"{word}-secret"})
        self.did("other", "Ordered", properties={"secret": "other"})
        self.buyers = self.audience("buyers", ORDERED)
        self.total = self.audience("total", {"kind": "event_counter", "name": "Ordered"}, kind=Audience.Kind.TRAIT)
        self.computed()
        self.destination = make_destination(self.space, kind, **settings)
        self.subscription = make_subscription(self.buyers, self.destination)
        self.synced()

    @property
    def mine(self):
        return sql("workspace = %s AND space = %s", self.space.workspace_id, self.space.pk)

    def synced(self):
        log = open_log(stage="sync", partition=self.subscription.pk, workspace_id=self.space.workspace_id)
        while advance(Sync(self.clock), log):
            pass

    def asked(self, kind, *subjects, space=None):
        now = self.clock.now()
        return regulate(self.space.workspace, kind=kind, subjects=subjects, space=space, now=now, by=COMMAND)

    def erased(self, regulation):
        """To its end, while audiences and destinations do their part."""
        for _ in range(100):
            erasing.advance(regulation.pk, self.clock)
            self.ticked()
            self.synced()
            regulation.refresh_from_db()
            if regulation.finished_at:
                return regulation
            if regulation.next_at:
                self.clock.at = max(self.clock.now(), regulation.next_at)
        raise AssertionError((regulation.state, regulation.step, regulation.error))

    def archived(self):
        condition = sql("workspace = %s AND message_id != ''", self.space.workspace_id)
        return people.count(ARCHIVE, condition)


def counts(shop):
    names = {table.name: rows_in(table.name, shop.mine) for table in TABLES if "space" in table.columns}
    return names | {"profiles in PostgreSQL": Profile.objects.filter(space=shop.space).count()}


@pytest.mark.parametrize("subject", [("email", "ADA@x.org"), ("anonymous_id", "ada-a")])
def test_whoever_holds_any_identifier_is_gone_from_profiles_events_audiences_and_destinations(subject):
    shop, beside = Shop("ada"), Shop("bob")
    before = counts(beside)
    assert shop.members(shop.buyers) == {"ada-1", "other"}
    archived = shop.archived()
    regulation = shop.erased(shop.asked("DELETE_ONLY", *subjects([subject])))
    assert regulation.state == State.FINISHED
    assert {table: row["left"] for table, row in regulation.report["tables"].items() if row["left"]} == {}
    assert all(
        regulation.report["tables"][table]["erased"]
        for table in (
            "identity_profile",
            "identity_identifier",
            "identity_evidence",
            "timeline",
            "profile_events",
            "traits",
            "membership_log",
            "trait_log",
            "delivery_log",
            "destinations_acknowledged",
            "destinations_caught",
            "archive",
        )
    )
    assert set(Identifier.objects.filter(space=shop.space).values_list("value", flat=True)) == {"other"}
    assert shop.members(shop.buyers) == {"other"}
    assert Audience.objects.get(pk=shop.buyers.pk).size == 1
    assert len(queries.members(Audience.everything.get(pk=shop.total.pk))) == 1
    assert Acknowledged.objects.filter(subscription=shop.subscription).count() == 1
    assert shop.archived() == archived - 3
    assert counts(beside) == before
    assert resolved(shop.space) == 0
    assert regulation.sealed is None


def test_the_destination_is_told_that_they_left_and_one_that_can_is_made_to_forget_them(settings):
    with receiving() as receiver:
        settings.OUTBOUND_ALLOW = [receiver.place]
        shop = Shop("ada", "webhook", url=receiver.url)
        regulation = shop.erased(shop.asked("SUPPRESS_WITH_DELETE", ("user_id", "ada-1")))
    left = [each for each in receiver.messages() if each.get("traits", {}).get("buyers") is False]
    assert {each["userId"] for each in left} == {"ada-1"}
    (deleted,) = [each for each in receiver.messages() if each["type"] == "delete"]
    assert (deleted["userId"], deleted["email"]) == ("ada-1", "ada@x.org")
    assert receiver.messages()[-1] == deleted
    (told,) = destinations_of(regulation)
    assert (told.taken, told.forgotten, regulation.state) == (True, True, State.FINISHED)


def test_a_tool_that_quotes_the_person_in_its_refusal_is_not_quoted(settings):
    with receiving() as receiver:
        settings.OUTBOUND_ALLOW = [receiver.place]
        receiver.answer = lambda got: Reply(400, b"no ada@x.org") if got.json["type"] == "delete" else Reply()
        shop = Shop("ada", "webhook", url=receiver.url)
        regulation = shop.asked("DELETE_ONLY", ("user_id", "ada-1"))
        with pytest.raises(AssertionError):
            shop.erased(regulation)
        assert (regulation.step, "ada" in str(regulation.report)) == ("forwarded", False)
        assert destinations_of(regulation)[0].note == "It answered 400."
        receiver.answer = lambda got: Reply()
        assert shop.erased(regulation).state == State.FINISHED


def test_a_destination_that_is_not_there_is_waited_for_and_then_named(settings):
    with receiving() as receiver:
        settings.OUTBOUND_ALLOW = [receiver.place]
        shop = Shop("ada", "webhook", url=receiver.url)
    regulation = shop.asked("DELETE_ONLY", ("user_id", "ada-1"))
    for _ in range(30):
        erasing.advance(regulation.pk, shop.clock)
        regulation.refresh_from_db()
        shop.clock.at = max(shop.clock.now(), regulation.next_at or shop.clock.now())
    assert (regulation.state, regulation.step) == (State.RUNNING, "taken_back")
    assert not Identifier.objects.filter(space=shop.space, value__contains="ada").exists()
    shop.clock.advance(erasing.TOLD_WITHIN)
    while not regulation.finished_at:
        erasing.advance(regulation.pk, shop.clock)
        regulation.refresh_from_db()
        shop.clock.at = max(shop.clock.now(), regulation.next_at or shop.clock.now())
    (told,) = destinations_of(regulation)
    assert (told.taken, told.forgotten, regulation.state) == (False, False, State.PARTIAL_SUCCESS)
    assert told.note
    assert not Acknowledged.objects.filter(subscription=shop.subscription, sent__icontains="ada").exists()


def test_what_they_do_afterwards_makes_a_new_profile_unless_they_are_suppressed():
    shop = Shop("ada")
    shop.erased(shop.asked("DELETE_INTERNAL", ("user_id", "ada-1")))
    shop.did("ada-1", "Ordered")
    shop.ticked()
    assert shop.members(shop.buyers) == {"ada-1", "other"}
    shop.erased(shop.asked("SUPPRESS_WITH_DELETE_INTERNAL", ("user_id", "ada-1")))
    send(shop.source, track(userId="ada-1", event="Ordered"))
    archive_all(shop.source)
    resolved(shop.space)
    shop.ticked()
    assert shop.members(shop.buyers) == {"other"}
    assert count_messages([shop.source])[shop.source.pk].suppressed == 1


def test_in_one_space_alone_the_others_and_the_archive_stay():
    shop = Shop("ada")
    archived = shop.archived()
    regulation = shop.erased(shop.asked("DELETE_INTERNAL", ("user_id", "ada-1"), space=shop.space))
    assert shop.members(shop.buyers) == {"other"}
    assert shop.archived() == archived
    assert "archive" not in regulation.report["tables"]


def test_each_space_erases_whom_it_takes_for_them_and_the_archive_is_blank():
    """One space takes two people for one, by a tablet; the other knows better."""
    shop = Shop("ada")
    strict = SpaceFactory(
        workspace=shop.space.workspace,
        identity_policy=Policy((Definition("user_id"), Definition("email"))).to_json(),
    )
    listening(strict, shop.source)
    shop.sent(message(userId="ada-1", anonymousId="tablet"))
    shop.sent(message(anonymousId="tablet", properties={"email": "bob@x.org"}))
    resolved(strict)
    shop.erased(shop.asked("DELETE_INTERNAL", ("user_id", "ada-1")))
    assert not Identifier.objects.filter(space=shop.space, value="bob@x.org").exists()
    assert set(Identifier.objects.filter(space=strict).values_list("value", flat=True)) == {"bob@x.org"}
    assert not people.archived(shop.space.workspace_id, {"user_id": ["ada-1"], "anonymous_id": ["tablet"]})


def test_events_of_others_that_name_them_go_and_their_own_stay():
    """A shared device: its id is theirs, and somebody else's event came with it."""
    shop = Shop("ada")
    shop.did("other", "Ordered", anonymousId="ada-a", traits={}, properties={"on": "the tablet"})
    shop.sent(message("identify", userId="other", anonymousId="ada-a", traits={"seen": "on the tablet"}))
    shop.ticked()
    assert Profile.objects.get(space=shop.space, number=_of(shop, "other")).traits == {"seen": "on the tablet"}
    shop.erased(shop.asked("DELETE_INTERNAL", ("user_id", "ada-1")))
    other = Profile.objects.get(space=shop.space, number=_of(shop, "other"))
    assert other.traits == {}
    assert shop.members(shop.buyers) == {"other"}
    assert rows_in("profile_events", sql("%s AND profile = %s", shop.mine, other.number)) == 1
    assert not any("ada" in str(row.identifiers) for row in Evidence.objects.filter(space=shop.space))


def _of(shop, user):
    return Identifier.objects.get(space=shop.space, type="user_id", value=user).profile


def test_an_event_that_resolve_had_read_before_brings_nobody_back():
    """The batch was read, and not prepared, when its person was erased: it is prepared anew, from what is left."""
    shop = Shop("ada")
    archived(shop.source, message(userId="ada-1", event="Late"))
    late, log = stage(), open_log(stage="resolve", partition=shop.space.pk, workspace_id=shop.space.workspace_id)
    prepare = late.prepare

    def erased_meanwhile(log, intake, number):
        late.prepare = prepare
        raise Overtaken("as it is when the log has moved on")

    late.prepare = erased_meanwhile
    with pytest.raises(Overtaken):
        advance(late, log)
    shop.erased(shop.asked("DELETE_INTERNAL", ("user_id", "ada-1")))
    while advance(late, log):
        pass
    assert not Identifier.objects.filter(space=shop.space, value="ada-1").exists()
    assert not Reject.objects.filter(space=shop.space).exists()


def test_a_batch_that_was_prepared_and_lost_its_writer_is_written_again_although_its_archive_is_blank():
    shop = Shop("ada")
    archived(shop.source, message(userId="ada-1", event="Late"), message(userId="other", event="Late"))
    log = open_log(stage="resolve", partition=shop.space.pk, workspace_id=shop.space.workspace_id)
    dying = stage()
    dying.write = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        advance(dying, log)
    log.__class__.objects.update(retry_at=None)
    late = people.archived(shop.space.workspace_id, {"user_id": ["ada-1", "other"]})
    assert people.blank_archived(shop.space.workspace_id, late) == len(late) > 2
    assert advance(Resolve(shop.clock), log)
    shop.erased(shop.asked("DELETE_INTERNAL", ("user_id", "ada-1")))
    assert not any(row["left"] for row in Regulation.objects.get().report["tables"].values())


class Killed(BaseException):
    """The process ends here."""


def test_a_job_whose_process_ends_after_each_step_is_gone_on_with(monkeypatch):
    """What the step did is done, and nobody has written down that it is."""
    shop = Shop("ada")
    regulation = shop.asked("DELETE_ONLY", ("user_id", "ada-1"))
    survived = set()
    for name in (*erasing.STEPS, "check"):

        def die_once(job, name=name, step=getattr(erasing._Job, name)):
            done = step(job)
            if done and name not in survived:
                survived.add(name)
                raise Killed
            return done

        monkeypatch.setattr(erasing._Job, name, die_once)
    for _ in range(len(erasing.STEPS) + 1):
        with suppress(Killed):
            shop.erased(regulation)
    assert survived == {*erasing.STEPS, "check"}
    assert shop.erased(regulation).state == State.FINISHED
    assert shop.members(shop.buyers) == {"other"}
    assert rows_in("timeline", sql("%s AND profile = %s", shop.mine, 1)) == 0
    assert regulation.report["tables"]["identity_profile"]["erased"] == 1


def test_many_are_erased_by_one_request():
    shop = Shop("ada")
    shop.sent(*[message(userId=f"u{n}", event="Ordered") for n in range(200)])
    shop.ticked()
    shop.erased(shop.asked("DELETE_INTERNAL", *[("user_id", f"u{n}") for n in range(200)]))
    assert shop.members(shop.buyers) == {"ada-1", "other"}
    assert Profile.objects.filter(space=shop.space).count() == 2


def test_the_change_set_names_them_and_who_was_linked_to_them():
    shop = Shop("ada")
    shop.sent(message("group", userId="ada-1", groupId="acme"))
    account = _of_account(shop)
    shop.ticked()
    regulation = shop.asked("DELETE_INTERNAL", ("user_id", "ada-1"))
    while regulation.steps_done < erasing.STEPS.index("audiences") + 1:
        erasing.advance(regulation.pk, shop.clock)
        regulation.refresh_from_db()
    told = ChangeSet.objects.get(space=shop.space, key=ChangeSet.ERASED)
    assert account in BitMap.deserialize(bytes(told.profiles))
    shop.erased(regulation)


def _of_account(shop):
    return Identifier.objects.get(space=shop.space, type="group_id").profile


@pytest.mark.django_db(transaction=True)
def test_no_file_of_any_store_holds_a_planted_value_of_somebody_who_was_erased():
    word = "xylophon-5b81d2"
    for table in TABLES:  # the engine drops old parts at once, and not in its own time
        quick = "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1"
        client.run(sql(f"ALTER TABLE {table.name} MODIFY SETTING {quick}, cleanup_delay_period_random_add = 0"))
    shop = Shop(word)
    send(shop.source, track(userId=f"{word}-1", event="Seen"))
    archive_all(shop.source)
    resolved(shop.space)
    RejectFactory(source=shop.source, message=f'{{"type": "nonsense", "userId": "{word}-1"}}')
    shop.subscription.error = f"400 no such address: {word}@x.org"
    shop.subscription.save(update_fields=["error"])
    as_owner("CHECKPOINT")
    held = {Path(each).relative_to(settings.PERSONAS_HOME).parts[0] for each in files_with(word)}
    assert held >= {"pg", "clickhouse"}
    regulation = shop.erased(shop.asked("SUPPRESS_WITH_DELETE", ("email", f"{word}@x.org")))
    assert regulation.state == State.FINISHED
    for _ in range(5):  # an old snapshot may keep what it may look at
        clean_up()
        with suppress(TimeoutError):
            until(lambda: not files_with(word), within_s=20, every_s=1)
            break
    assert files_with(word) == []
    assert shop.members(shop.buyers) == {"other"}
    assert Caught.objects.filter(destination=shop.destination).exists()
    assert regulation.finished_at >= regulation.requested_at + timedelta(minutes=15)


def test_what_was_split_off_and_is_nobodys_goes_too_and_others_of_its_kind_stay():
    world = World()
    world.sent(message(userId="ann", anonymousId="tablet"), message(userId="bob", anonymousId="phone"))
    for profile, (user, device) in enumerate((("ann", "tablet"), ("bob", "phone")), 1):
        ProfileSplit.objects.create(
            workspace=world.space.workspace,
            space=world.space,
            profile=profile,
            taken=[["anonymous_id", device]],
            left=[["user_id", user]],
        )
        resolved(world.space)
    assert set(Identifier.objects.filter(profile=0).values_list("value", flat=True)) == {"tablet", "phone"}
    people = erasure.people_of(world.space, [("anonymous_id", "tablet")])
    assert people.pairs == [("anonymous_id", "tablet")]
    erase = {"clock": world.clock, "keep": lambda *_: None}
    assert erasure.erase_people(world.space, people.pairs, people.numbers, **erase)
    assert set(Identifier.objects.filter(profile=0).values_list("value", flat=True)) == {"phone"}
    assert [split.taken for split in ProfileSplit.objects.all()] == [[["anonymous_id", "phone"]]]
