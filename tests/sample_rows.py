"""One of everything that an address can name, in a space, for tests that try every address."""

from datetime import UTC, datetime, time
from typing import Any

import msgspec
from pyroaring import BitMap

from access.models import Invitation, Token
from access.services import COMMAND, Invited, create_profile_token, create_token, invite
from alerts import services as alerts
from alerts.models import AlertChannel, AlertNotification, AlertOccurrence, AlertRule
from audiences import sql_traits
from audiences.drafts import begin
from audiences.models import Audience, Change, ComputedTrait, SqlRun, SqlTrait, Version
from identity.models import DryRun, Profile, ProfileSplit
from identity.rules.policy import DEFAULT_POLICY
from imports import services as imports
from imports.models import ProfileImport
from privacy.erasing import STEPS
from privacy.models import Regulation
from profiles_sync import services as profiles_syncs
from profiles_sync.models import ProfilesSync, SyncRun
from sources.models import Connection, Replay, Source
from spaces.clock import FixedClock
from spaces.ids import new_id
from spaces.models import Space
from tests.factories import MembershipFactory, SourceFactory, WriteKeyFactory
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_sources import ConsumedFactory

BORN = datetime(2026, 6, 1, tzinfo=UTC)
DEFINITION = {"kind": "event", "name": "User Signed Up", "atLeast": 1, "within": {"days": 7}}


def belongings(space: Space) -> dict[str, str]:
    """By the name that an address gives it: the id of a row that belongs to this space or to its workspace."""
    source = SourceFactory(workspace=space.workspace)
    replay = _replay(space)
    connection = _connection(space, source, replay)
    audience = _audience(space)
    destination = make_destination(space)
    subscription = make_subscription(audience, destination)
    return {
        "workspace": space.workspace.slug,
        "space": space.slug,
        "space_id": space.public_id,
        "source_id": source.public_id,
        "source": source.public_id,
        "name": "part.bundle.js",
        "uidb64": "MQ",
        "token": "no-such-token",
        "key": WriteKeyFactory(source=source).key,
        "replay_id": replay.public_id,
        "replay": replay.public_id,
        "connection_id": connection.public_id,
        "connection": connection.public_id,
        "audience_id": audience.public_id,
        "audience": audience.public_id,
        "version_number": str(_number(space)),
        "change_id": _change(audience),
        "trait_id": (trait := _trait(space)).public_id,
        "trait": trait.public_id,
        "case_id": (case := make_cases(audience, trait)),
        "case": case,
        "channel_id": (channel := make_alert_channel(space)).public_id,
        "channel": channel.public_id,
        "alert_id": (alert := make_alert(space, channel)).public_id,
        "alert": alert.public_id,
        "split_id": make_split(space).public_id,
        "subject_id": audience.public_id,
        "trait_subscription_id": make_subscription(trait, destination).public_id,
        "sql_trait_id": (sql_trait := make_sql_trait(space)).public_id,
        "sql_trait": sql_trait.public_id,
        "warehouse_id": sql_trait.warehouse.public_id,
        "warehouse": sql_trait.warehouse.public_id,
        "profiles_sync_id": (profiles_sync := make_profiles_sync(space)).public_id,
        "profiles_sync": profiles_sync.public_id,
        "side": "entered",
        "draft": begin(space, COMMAND).public_id,
        "destination_id": destination.public_id,
        "destination": destination.public_id,
        "subscription_id": subscription.public_id,
        "subscription": subscription.public_id,
        "invite_id": _invitation(space).public_id,
        "person": MembershipFactory(workspace=space.workspace).user.public_id,
        "token_id": _token(space).public_id,
        "profile_token_id": create_profile_token(space, name="shop", by=COMMAND)[0].public_id,
        "regulation_id": (regulation := make_regulation(space)).public_id,
        "regulation": regulation.public_id,
        "import_id": make_import(space).public_id,
        "profile": (profile := _profile(space)),
        "profile_id": profile,
        "merged_id": profile,
        "to_id": profile,
        "dry_run_id": (dry_run := make_dry_run(space)).public_id,
        "dry_run": dry_run.public_id,
    }


def body_ids(ids: dict[str, str]) -> dict[str, str]:
    """The same as a body names them: `source_id` is `sourceId`."""
    return {name.removesuffix("_id") + "Id": value for name, value in ids.items() if name.endswith("_id")}


def make_alert_channel(space: Space) -> AlertChannel:
    settings = {"addresses": "data@example.com"}
    return alerts.create_channel(space, kind="mail", name="Data team", settings=settings, by=COMMAND)


def make_alert(space: Space, *channels: AlertChannel) -> AlertRule:
    """It watches for something, and has said so once."""
    rule = alerts.create_rule(
        space, kind="audience_empty", name="Empty audiences", options={}, channels=channels, by=COMMAND
    )
    of_it = {"workspace": space.workspace, "space": space, "rule": rule}
    AlertOccurrence.objects.create(
        **of_it, subject="aud_none", name="Buyers", message="Buyers: nobody is left in it.", began_at=BORN, told_at=BORN
    )
    for channel in channels:
        AlertNotification.objects.create(
            **of_it,
            channel=channel,
            what="alert",
            title="Alert: Empty audiences",
            findings=[["aud_none", "Buyers", "Buyers: nobody is left in it."]],
            at=BORN,
            state="failed",
            tries=12,
            error="The mail cannot be sent: no route to host",
        )
    return rule


def make_regulation(space: Space) -> Regulation:
    """Somebody of the space was erased, and one destination could not be made to forget them."""
    report = {
        "tables": {"identity_profile": {"erased": 2, "left": 0}, "timeline": {"erased": 120, "left": 0}},
        "destinations": {
            "dst_crm": {"name": "CRM", "kind": "hubspot", "here": False, "can": False, "taken": True},
            "dst_hook": {
                "name": "Hook",
                "kind": "webhook",
                "here": False,
                "can": True,
                "taken": True,
                "forgotten": True,
            },
        },
    }
    return Regulation.objects.create(
        workspace=space.workspace,
        space=space,
        kind="DELETE_ONLY",
        state=Regulation.State.PARTIAL_SUCCESS,
        subjects=1,
        steps_done=len(STEPS),
        report=report,
        requested_at=BORN,
        erased_at=BORN,
        finished_at=BORN,
    )


def make_cases(*computations: Audience) -> str:
    """Each of these has a test case of this id, which is broken."""
    case = {"id": new_id("cas"), "name": "Somebody who did nothing", "at": "2026-06-15T12:00:00.000Z", "expected": True}
    for computation in computations:
        computation.cases = [case]
        computation.save(update_fields=["cases"])
    return case["id"]


def _profile(space: Space) -> str:
    number = Profile.objects.filter(space=space).count() + 1
    made = Profile.objects.create(workspace=space.workspace, space=space, number=number, first_seen_at=BORN)
    return made.public_id


def _replay(space: Space) -> Replay:
    return Replay.objects.create(workspace=space.workspace, space=space, since=BORN, until=BORN, total=10)


def _connection(space: Space, source: Source, replay: Replay) -> Connection:
    made = Connection.objects.create(
        workspace=space.workspace, space=space, source=source, replay=replay, cutoff=0, piece=0
    )
    ConsumedFactory(connection=made, replay=replay)
    return made


def _audience(space: Space) -> Audience:
    audience = Audience.objects.create(workspace=space.workspace, space=space, name="New people", key="new_people")
    _version(audience, DEFINITION)
    return audience


def _trait(space: Space) -> ComputedTrait:
    """A computed trait, with the value of somebody."""
    definition = {"kind": "last", "name": "Signed Up", "property": "plan"}
    trait = ComputedTrait(kind=Audience.Kind.TRAIT, public_id=new_id("tra"), workspace=space.workspace, space=space)
    trait.name, trait.key = "Last plan", "last_plan"
    trait.save()
    _version(trait, definition)
    return trait


def make_sql_trait(space: Space) -> SqlTrait:
    """With a run that is done, and one that waits for a nod. Nothing is asked of the warehouse."""
    settings = {"host": "db.example.com", "database": "shop", "user": "personas", "password": "secret"}
    warehouse = sql_traits.create_warehouse(space, kind="postgresql", name="Shop", settings=settings, by=COMMAND)
    trait = SqlTrait.objects.create(
        workspace=space.workspace,
        space=space,
        warehouse=warehouse,
        name="Customer tiers",
        query="SELECT user_id, tier, renewal_at\nFROM customers",
        at=time(6),
        columns=["tier", "renewal_at"],
    )
    runs = {"workspace": space.workspace, "sql_trait": trait, "started_at": BORN, "finished_at": BORN, "rows": 1200}
    SqlRun.objects.create(**runs, state=SqlRun.State.DONE, unknown=31, changed=40, nulled=2)
    why = "900 of 1,200 people are no longer in the answer, and would lose their values. Nothing was changed."
    SqlRun.objects.create(**runs, state=SqlRun.State.HELD, nulled=900, error=why)
    return trait


def make_profiles_sync(space: Space) -> ProfilesSync:
    """With a run that is done, and one that failed. Nothing was written to the warehouse."""
    settings = {"host": "db.example.com", "database": "shop", "user": "personas", "password": "secret"}
    sync = profiles_syncs.create_sync(
        space, kind="postgresql", name="Analytics", settings=settings, clock=FixedClock(BORN), by=COMMAND
    )
    ProfilesSync.objects.filter(pk=sync.pk).update(enabled=False, next_at=None)
    rows = {"user_traits": 3120, "user_identifiers": 1204, "tracks": 94_000}
    runs = {"workspace": space.workspace, "sync": sync, "planned": True, "started_at": BORN, "finished_at": BORN}
    counts = {"people_total": 812, "people_done": 812, "events_total": 94_000, "events_done": 94_000, "removed": 3}
    SyncRun.objects.create(**runs, **counts, state=SyncRun.State.DONE, rows=rows)
    SyncRun.objects.create(**runs, state=SyncRun.State.FAILED, error="permission denied for schema personas")
    return sync


def _version(audience: Audience, definition: dict[str, Any]) -> None:
    number = _number(audience.space)
    Version.objects.create(workspace=audience.workspace, audience=audience, number=number, definition=definition)


def _number(space: Space) -> int:
    """Of a version: one that no other space has."""
    return 10_000_000 + 100 * space.pk


def _change(audience: Audience) -> str:
    """At a tick that no other space has."""
    nobody = BitMap().serialize()
    change = Change.objects.create(
        workspace=audience.workspace,
        space=audience.space,
        audience=audience,
        tick=audience.space.pk,
        at=BORN,
        cause=Change.Cause.COMPUTE,
        entered=nobody,
        left=nobody,
        refreshed=nobody,
        size=0,
    )
    return f"{change.tick}-{change.cause}"


def _invitation(space: Space) -> Invitation:
    person = Invited(f"asked-{space.pk}@example.com")
    return invite(space.workspace, [person], by=COMMAND, origin="http://testserver")[0]


def _token(space: Space) -> Token:
    member = MembershipFactory(workspace=space.workspace)
    return create_token(space.workspace, member.user, name="theirs", by=COMMAND)[0]


def make_dry_run(space: Space) -> DryRun:
    """Worked out: a person would be two."""
    policy = msgspec.structs.replace(DEFAULT_POLICY, max_merges=3)
    person = {"identifiers": [["user_id", "person-0"], ["email", "ada@example.com"]], "more": 2, "events": 9, "of": [1]}
    kiosk = {"identifiers": [["anonymous_id", "kiosk-0"]], "more": 0, "events": 3, "of": [1]}
    figures = {"before": 100, "after": 101, "unchanged": 99, "merged": 0, "split": 1, "gone": 0, "new": 0, "nobodys": 0}
    sizes = [
        {"id": "aud_none", "name": "Buyers", "before": 20, "after": 21, "why": None},
        {"id": "aud_none", "name": "Companies", "before": 3, "after": None, "why": "It is about accounts."},
    ]
    return DryRun.objects.create(
        workspace=space.workspace,
        space=space,
        policy=policy.to_json(),
        state=DryRun.State.DONE,
        done=1200,
        total=1200,
        result=figures
        | {
            "largest": [{"identifiers": 12, "events": 300, "of": [1], "profiles": 1}],
            "differing": 1,
            "toMove": 1,
            "whyNot": "",
            "audiences": sizes,
        },
        samples=[{"now": [1], "moreNow": 0, "after": [person, kiosk], "moreAfter": 0, "events": 6}],
        named=[["email", "ada@example.com"]],
        as_of=BORN,
        finished_at=BORN,
    )


def make_split(space: Space) -> ProfileSplit:
    return ProfileSplit.objects.create(
        workspace=space.workspace,
        space=space,
        profile=1,
        taken=[["anonymous_id", "a"]],
        left=[["user_id", "u"]],
        state=ProfileSplit.State.DONE,
    )


def make_import(space: Space) -> ProfileImport:
    """A file of two rows, the second of which is wrong, whose columns are to be chosen."""
    profile_import = imports.begin(space, name="customers.csv", now=BORN)
    imports.add_part(profile_import, b"email,plan\nada@example.com,pro\nnobody,free\n", offset=0, now=BORN)
    imports.complete(profile_import, now=BORN)
    profile_import.refresh_from_db()
    return profile_import
