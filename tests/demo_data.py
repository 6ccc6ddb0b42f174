"""A workspace with something on every page: for the browser tests, and to be looked at."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow
from pyroaring import BitMap

from access import roles, services
from access.models import Invitation, User
from alerts.models import AlertRule
from audiences import drafts, queries
from audiences.models import Audience, Change, ComputedTrait, Draft, Evaluation, SqlTrait, Version
from audiences.rules import draft_form
from destinations import sync
from destinations.models import Destination, Subscription
from identity.models import DryRun, Identifier, Profile
from identity.rules.policy import DEFAULT_POLICY, moved
from identity.services import change_policy
from imports import running
from imports import services as imports
from imports.models import ProfileImport
from privacy.models import Regulation
from profiles_sync.models import ProfilesSync
from sources.events import client
from sources.events.schema import MEMBERSHIP_LOG, TRAIT_LOG
from sources.models import Connection, EventName, Replay, Source, Tally
from spaces.batches import advance, open_log
from spaces.clock import clock
from spaces.ids import new_id
from spaces.models import Log, Space, Workspace
from tests.cast import PASSWORD
from tests.factories import (
    MembershipFactory,
    SourceFactory,
    SpaceFactory,
    UserFactory,
    WorkspaceFactory,
    WriteKeyFactory,
)
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_identity import DAY_MS, NOON, archived, listening, message, resolved
from tests.factories_sources import ConsumedFactory, RejectFactory
from tests.sample_rows import (
    make_alert,
    make_alert_channel,
    make_cases,
    make_dry_run,
    make_import,
    make_profiles_sync,
    make_regulation,
    make_sql_trait,
)

NAMES = ("Ada Obi", "Björn Lund", "Chen Wei", "Dana Whitfield-Montgomery", "Elif Kaya", "Femi Adé", "Grace Hopper")
EVENTS = ("Product Viewed", "Product Added", "Checkout Started", "Order Completed")
LABELS = ["newsletter", "onboarding/e-mail", "Q3"]
HOUR_MS = 3_600_000
DEFINITIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("New users, 7 days", {"kind": "event", "name": "User Signed Up", "atLeast": 1, "within": {"days": 7}}),
    (
        "Browsed and did not buy, or has something in the basket from this month",
        {
            "all": [
                {"kind": "event", "name": "Product Viewed", "atLeast": 3, "within": {"days": 30}},
                {"not": {"kind": "event", "name": "Order Completed", "atLeast": 1, "within": {"days": 30}}},
            ]
        },
    ),
    ("Pro plan", {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}),
)


@dataclass
class Showroom:
    workspace: Workspace
    dev: Space
    prod: Space
    owner: User
    person: Profile
    catcher: Destination
    colleague: User
    audience: Audience
    trait: ComputedTrait
    sql_trait: SqlTrait
    alert: AlertRule
    subscription: Subscription
    draft: Draft

    @property
    def website(self) -> Source:
        return Source.objects.get(workspace=self.workspace, slug="website")

    @property
    def ids(self) -> dict[str, str]:
        """What the addresses of its pages are made of."""
        return {
            "workspace": self.workspace.slug,
            "space": self.dev.slug,
            "profile": self.person.public_id,
            "person": self.colleague.public_id,
            "destination": self.catcher.public_id,
            "source_id": self.website.public_id,
            "key": self.website.write_keys.earliest("pk").key,
            "connection_id": Connection.objects.get(space=self.dev, source=self.website).public_id,
            "replay_id": Replay.objects.get(space=self.dev, state=Replay.State.RUNNING).public_id,
            "audience": self.audience.public_id,
            "case": self.audience.cases[0]["id"],
            "trait": self.trait.public_id,
            "side": "entered",
            "sql_trait": self.sql_trait.public_id,
            "warehouse": self.sql_trait.warehouse.public_id,
            "alert": self.alert.public_id,
            "channel": self.alert.channels.earliest("pk").public_id,
            "draft": self.draft.public_id,
            "subscription": self.subscription.public_id,
            "import_id": ProfileImport.objects.filter(space=self.dev).earliest("pk").public_id,
            "profiles_sync": ProfilesSync.objects.filter(space=self.dev).earliest("pk").public_id,
            "dry_run": DryRun.objects.filter(space=self.dev).earliest("pk").public_id,
            "regulation": Regulation.objects.filter(space=self.dev).earliest("pk").public_id,
        }


def furnish() -> Showroom:
    """Two spaces; the first with sources, people with a history, audiences, and a catcher that received them."""
    workspace = WorkspaceFactory(name="Northwind Outfitters", slug="northwind")
    owner = UserFactory(email="ada@northwind.example", name="Ada Obi")
    owner.set_password(PASSWORD)
    owner.save()
    MembershipFactory(workspace=workspace, user=owner, role=roles.OWNER)
    dev = SpaceFactory(workspace=workspace, name="Shop (Dev)", slug="shop-dev", kind=Space.Kind.DEV)
    prod = SpaceFactory(workspace=workspace, name="Shop", slug="shop", kind=Space.Kind.PROD)
    services.create_space(workspace, name="An empty one", kind="dev", by=services.COMMAND)
    change_policy(prod, moved(DEFAULT_POLICY, "email", up=True))
    sources = _sources(workspace)
    _people(dev, sources)
    _replays(dev, sources)
    audiences = _audiences(dev, owner)
    trait, sql_trait = _trait(dev, owner), make_sql_trait(dev)
    profile_import = make_import(dev)
    imports.start_check(profile_import, profile_import.uses, now=clock.now())
    while running.advance(profile_import.pk, clock):
        pass
    _wander(audiences[0])
    catcher = _deliver(dev, audiences)
    first = Subscription.objects.get(audience=audiences[0])
    _record(dev)
    person = Profile.objects.get(space=dev, number=_holder(dev, "person-0"))
    colleague = _team(workspace, owner, dev, prod)
    draft = _draft(dev, owner)
    audience = audiences[0]
    make_cases(audience, trait)
    alert = make_alert(dev, make_alert_channel(dev))
    make_regulation(dev)
    make_dry_run(dev)
    make_profiles_sync(dev)
    return Showroom(
        workspace, dev, prod, owner, person, catcher, colleague, audience, trait, sql_trait, alert, first, draft
    )


def _team(workspace: Workspace, owner: User, dev: Space, prod: Space) -> User:
    """Colleagues with roles, one of whom is returned; invitations, one of them expired; and tokens."""
    roles_of = (
        (
            "Maximiliane Oberndorfer-Castellanos",
            "maximiliane.oberndorfer@northwind.example",
            {dev: "admin", prod: "user"},
        ),
        ("Bo Ek", "bo@northwind.example", {dev: "read_only"}),
        ("Carla Ruiz", "carla@northwind.example", {}),
    )
    people = []
    for name, email, held in roles_of:
        people.append(MembershipFactory(workspace=workspace, user=UserFactory(name=name, email=email)).user)
        for space, role in held.items():
            services.grant(space, people[-1], role, by=owner)
    asked = [services.Invited("dora@northwind.example", grants=[(dev, "user"), (prod, "read_only")])]
    asked.append(services.Invited("late@northwind.example", role=roles.OWNER))
    *_, late = services.invite(workspace, asked, by=owner, origin="http://testserver")
    Invitation.objects.filter(pk=late.pk).update(expires_at=clock.now() - timedelta(days=1))
    services.create_token(workspace, owner, name="Nightly export", by=owner)
    services.create_profile_token(dev, name="shop/production", by=owner)
    return people[0]


def _sources(workspace: Workspace) -> list[Source]:
    kinds = (("Website", "website"), ("iOS and Android app", "mobile"), ("Backend", "server"))
    found = [SourceFactory(workspace=workspace, name=name, slug=kind, kind=kind) for name, kind in kinds]
    figures = ((184_203, 1_204, 17), (61_877, 310, 0), (9_412, 0, 2))
    for source, (done, doubled, rejected) in zip(found, figures, strict=True):
        at = clock.now() - timedelta(minutes=3)
        tally = {"archived": done, "doubled": doubled, "rejected": rejected, "last_received_at": at}
        Tally.objects.create(workspace=workspace, source=source, **tally)
        WriteKeyFactory(source=source)
    SourceFactory(workspace=workspace, name="Old kiosk", slug="kiosk", kind="http", enabled=False)
    _schema(found[0])
    return found


def _schema(source: Source) -> None:
    """What the source was seen to send, and what of it was rejected."""
    now = clock.now()
    for place, event in enumerate((*EVENTS, "User Signed Up")):
        times = {"first_seen_at": now - timedelta(days=90), "last_seen_at": now - timedelta(minutes=3 + place)}
        EventName.objects.create(
            workspace=source.workspace, source=source, type="track", event=event, archived=90_000 // 3**place, **times
        )
    RejectFactory(
        source=source, message='{"type": "track", "event": "Product Viewed", "properties": {"sku": "boot-1"}}'
    )
    no_name = {"code": "event_not_defined", "reason": "A track call needs an `event`.", "path": "batch[2].event"}
    RejectFactory(source=source, message='{"type": "track", "userId": "person-4"}', messages=3, **no_name)
    refused = {"code": "unstorable", "reason": "The store refused a value of this message.", "path": ""}
    RejectFactory(source=source, message='{"event": "A", "userId": "person-5"}', call="track", whole=True, **refused)
    seen = {"workspace": source.workspace, "first_at": now - timedelta(days=2), "last_at": now}
    source.refused_requests.create(
        **seen,
        code="body_too_large",
        path="/v1/batch",
        status=413,
        requests=3,
        reason="A request may have 5242880 bytes.",
    )
    source.refused_requests.create(
        **seen, code="not_found", path="/v1/trakc", status=404, requests=1_204, reason="There is no such call."
    )


def _people(space: Space, sources: list[Source]) -> None:
    """Each browses without a name, then signs in: two ids become one person. The first one has two devices.

    One batch of each source: every insert is synced to the disk, and many tests furnish a room of their own.
    """
    website, app, backend = sources
    for source in sources:
        listening(space, source)
    at = itertools.count(-86_400_000 * 2, 3_700_000)
    recent = int((clock.now() - NOON).total_seconds() * 1000)  # after the noon that the rest is told from
    sent: dict[str, list[dict[str, Any]]] = {source.slug: [] for source in sources}
    for number, name in enumerate(NAMES):
        user, visitor = f"person-{number}", f"anon-{number}"
        email = f"{name.split()[0].lower()}@example.com"
        sent[website.slug] += [
            message(anonymousId=visitor, event=event, properties={"sku": f"boot-{number}", "price": 129.5}, at=next(at))
            for event in EVENTS[: 1 + number % 4]
        ]
        named = {"name": name, "email": email, "plan": "pro" if number % 2 else "free", "address": {"city": "Oslo"}}
        sent[website.slug].append(message("identify", anonymousId=visitor, userId=user, traits=named, at=next(at)))
        signed_up = recent - (2 + 20 * number) * HOUR_MS
        sent[backend.slug].append(
            message(userId=user, event="User Signed Up", properties={"plan": "pro"}, at=signed_up)
        )
        sent[website.slug] += [
            message(
                userId=user,
                event="Product Viewed",
                properties={"sku": f"boot-{n}", "price": 89.0},
                at=signed_up - n * HOUR_MS,
            )
            for n in range(number)
        ]
    for device, traits in (("phone-0", {"app": "2.4"}), ("tablet-0", {}), ("kiosk-0", {})):
        sent[app.slug] += [
            message(anonymousId=device, event="App Opened", at=next(at)),
            message("identify", anonymousId=device, userId="person-0", traits=traits, at=next(at)),
        ]
    sent[backend.slug].append(message("group", userId="person-0", groupId="acme", traits={"name": "Acme"}, at=next(at)))
    sent[website.slug] += [
        message(
            userId="person-0",
            event=EVENTS[n % 4],
            properties={"sku": f"boot-{n}", "price": 129.5, "cart": {"items": n}},
            at=recent - (n * n % 27) * DAY_MS - n * 60_000,
        )
        for n in range(24)
    ]
    sent[website.slug] += [message(anonymousId=f"passer-by-{n}", event="Page Viewed", at=next(at)) for n in range(60)]
    for source in sources:
        archived(source, *sent[source.slug])
    resolved(space)


def _replays(space: Space, sources: list[Source]) -> None:
    now = clock.now()
    place = [int((now - timedelta(days=11)).timestamp() * 1000), sources[0].pk, 1, 1]
    times = {"since": now - timedelta(days=30), "until": now}
    running = Replay.objects.create(
        workspace=space.workspace, space=space, total=184_203, done=117_540, cursor=place, started_at=now, **times
    )
    Replay.objects.filter(pk=running.pk).update(created_at=now - timedelta(seconds=25))
    Connection.objects.filter(space=space, source=sources[0]).update(replay=running, state=Connection.State.REPLAYING)
    _ended(space, Replay.State.CANCELLED, done=8_750, total=61_877, hours=26, **times)
    ended = _ended(space, Replay.State.COMPLETE, done=71_289, total=71_289, hours=2, **times)
    Connection.objects.filter(space=space, source__in=sources[1:]).update(replay=ended)
    for each in Connection.objects.filter(space=space):
        ConsumedFactory(connection=each, replay=each.replay)


def _ended(space: Space, state: Replay.State, *, hours: int, **fields: Any) -> Replay:
    """A replay that took 41 seconds, some hours ago."""
    at = clock.now() - timedelta(hours=hours)
    made = Replay.objects.create(
        workspace=space.workspace, space=space, state=state, started_at=at, finished_at=at, **fields
    )
    Replay.objects.filter(pk=made.pk).update(created_at=at - timedelta(seconds=41))
    return made


def _audiences(space: Space, owner: User) -> list[Audience]:
    Evaluation.objects.create(space=space, workspace=space.workspace, clock_at=clock.now())
    return [_audience(space, owner, name, definition) for name, definition in DEFINITIONS]


def _audience(space: Space, owner: User, name: str, definition: dict[str, Any]) -> Audience:
    key = "_".join(name.lower().replace(",", "").split())[:60]
    shared = {"workspace": space.workspace, "space": space}
    labels = LABELS[: 1 + len(name) % len(LABELS)]
    folder = "Campaigns/Autumn" if len(name) % 2 else ""
    audience = Audience.objects.create(**shared, name=name, key=key, labels=labels, folder=folder, created_by=owner)
    computing = name == "Pro plan"
    state = Version.State.COMPUTING if computing else Version.State.LIVE
    of_it = {"workspace": space.workspace, "audience": audience}
    version = Version.objects.create(**of_it, number=2, definition=definition, state=state)
    before = {"kind": "event", "name": "User Signed Up", "atLeast": 1, "within": {"days": 30}}
    Version.objects.create(**of_it, number=1, definition=before, state=Version.State.REPLACED)
    if not computing:
        members = BitMap(_holder(space, f"person-{number}") for number in range(len(NAMES)))
        _enter(audience, members)
        Audience.objects.filter(pk=audience.pk).update(serving=version, size=len(members))
    audience.refresh_from_db()
    return audience


def _trait(space: Space, owner: User) -> ComputedTrait:
    """A computed trait, of which everybody has a value."""
    trait = ComputedTrait(workspace=space.workspace, space=space, kind=Audience.Kind.TRAIT, created_by=owner)
    trait.public_id, trait.name, trait.key = new_id("tra"), "Orders, 90 days", "orders_90_days"
    trait.labels = LABELS[:1]
    trait.save()
    definition = {"kind": "event_counter", "name": "Order Completed", "within": {"days": 90}}
    shared = {"workspace": space.workspace, "audience": trait, "number": 1, "definition": definition}
    trait.serving = Version.objects.create(**shared, state=Version.State.LIVE)
    trait.size = len(NAMES)
    trait.save()
    values = {_holder(space, f"person-{number}"): str(1 + number % 7) for number in range(len(NAMES))}
    _enter(trait, BitMap(values))
    same = {
        "workspace": (space.workspace_id, pyarrow.uint32()),
        "space": (space.pk, pyarrow.uint32()),
        "piece": (1, pyarrow.uint64()),
        "trait": (trait.pk, pyarrow.uint32()),
        "at": (clock.now(), pyarrow.timestamp("ms", tz="UTC")),
    }
    columns = {name: pyarrow.repeat(pyarrow.scalar(*value), len(values)) for name, value in same.items()}
    own = {"profile": pyarrow.array([*values], pyarrow.uint32()), "value": pyarrow.array([*values.values()])}
    client.insert(TRAIT_LOG, pyarrow.table({**columns, **own}))
    return trait


def _enter(audience: Audience, members: BitMap) -> None:
    Change.objects.create(
        workspace=audience.workspace,
        space=audience.space,
        audience=audience,
        tick=1,
        at=datetime.now(UTC),
        cause=Change.Cause.COMPUTE,
        entered=members.serialize(),
        left=BitMap().serialize(),
        refreshed=BitMap().serialize(),
        size=len(members),
    )


def _draft(space: Space, owner: User) -> Draft:
    """Somebody is describing an audience."""
    draft = drafts.begin(space, owner)
    drafts.keep(draft, sketch=draft_form.of_definition(DEFINITIONS[1][1]), name="Looked at boots")
    return draft


def _wander(audience: Audience) -> None:
    """Some left and came back, so that its size has a history of some days."""
    everybody = sorted(queries.members(audience))
    first = Change.objects.get(audience=audience)
    Change.objects.filter(pk=first.pk).update(at=clock.now() - timedelta(days=6))
    inside = BitMap(everybody)
    for number, gone in enumerate(([], everybody[:2], everybody[2:5], everybody[:1], [])):
        left, entered = inside & BitMap(gone), BitMap(everybody) - inside - BitMap(gone)
        inside = (inside - left) | entered
        cause = Change.Cause.CLOCK if left else Change.Cause.EVENTS
        at = clock.now() - timedelta(days=5 - number, hours=7 * number)
        kept = {"entered": entered.serialize(), "left": left.serialize(), "refreshed": BitMap().serialize()}
        Change.objects.create(
            workspace=audience.workspace,
            space=audience.space,
            audience=audience,
            tick=number + 2,
            at=at,
            cause=cause,
            size=len(inside),
            **kept,
        )


def _record(space: Space) -> None:
    """What the changes say is in the membership log too, as the evaluate stage leaves it."""
    log = open_log(stage="evaluate", partition=space.pk, workspace_id=space.workspace_id)
    entries = []
    for change in Change.objects.filter(space=space):
        people = BitMap.deserialize(bytes(change.entered))
        same = {
            "workspace": (space.workspace_id, pyarrow.uint32()),
            "space": (space.pk, pyarrow.uint32()),
            "piece": (change.tick, pyarrow.uint64()),
            "audience": (change.audience_id, pyarrow.uint32()),
            "at": (change.at, pyarrow.timestamp("ms", tz="UTC")),
            "entered": (1, pyarrow.uint8()),
            "cause": (change.cause, pyarrow.string()),
        }
        columns = {name: pyarrow.repeat(pyarrow.scalar(*value), len(people)) for name, value in same.items()}
        profiles = pyarrow.array(people.to_array(), pyarrow.uint32())
        entries.append(pyarrow.table({**columns, "profile": profiles}))
    client.insert(MEMBERSHIP_LOG, pyarrow.concat_tables(entries))
    newest = max(Change.objects.filter(space=space).values_list("tick", flat=True))
    Log.objects.filter(pk=log.pk).update(last_number=newest, committed=newest)


def _deliver(space: Space, audiences: list[Audience]) -> Destination:
    """The first audience went to the catcher, by the real sync stage; the second waits."""
    catcher = make_destination(space)
    Destination.objects.filter(pk=catcher.pk).update(name="Webhook catcher")
    first = make_subscription(audiences[0], catcher)
    log = open_log(stage="sync", partition=first.pk, workspace_id=space.workspace_id)
    while advance(sync.STAGE, log):
        pass
    make_subscription(audiences[2], catcher)
    return catcher


def _holder(space: Space, user_id: str) -> int:
    return Identifier.objects.get(space=space, type="user_id", value=user_id).profile
