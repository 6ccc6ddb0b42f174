"""Archived events without the way there, and what a space made of them."""

import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import factory

from identity.models import Identifier, Link, Profile
from identity.resolve_stage import Resolve
from sources.events import archive_table, client, timeline
from sources.events.archive_table import WHOLE_PIECE, ArchivedRow
from sources.events.timeline import Scope
from sources.models import Connection
from spaces.batches import advance, open_log, visible
from spaces.clock import FixedClock
from spaces.models import Log
from tests.reference.resolver import Fed, Reference

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
DAY_MS = 86_400_000
_message_ids = itertools.count(1)


class ProfileFactory(factory.django.DjangoModelFactory):
    """A profile without events; `email` and the like become its identifiers."""

    class Meta:
        model = Profile
        skip_postgeneration_save = True

    space = factory.SubFactory("tests.factories.SpaceFactory")
    workspace = factory.SelfAttribute("space.workspace")
    number = factory.Sequence(lambda n: n + 1)
    first_seen_at = NOON

    @factory.post_generation
    def identifiers(self, create, extracted, **_):
        for type, value in extracted or ():
            IdentifierFactory(space=self.space, profile=self.number, type=type, value=value)


class IdentifierFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Identifier

    space = factory.SubFactory("tests.factories.SpaceFactory")
    workspace = factory.SelfAttribute("space.workspace")
    number = factory.Sequence(lambda n: n + 1)
    type = "user_id"
    value = factory.Sequence(lambda n: f"u{n}")
    profile = 1
    first_seen_at = NOON
    message_id = "m"


def message(type="track", *, at=0, id=None, **fields):
    """A normalised message; `at` in ms after noon of the fixed day."""
    fields = {"event": "Seen", **fields} if type == "track" else fields
    stamp = NOON + timedelta(milliseconds=at)
    return {
        "type": type,
        "messageId": id or f"m{next(_message_ids)}",
        **fields,
        "timestamp": stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def at_ms(sent):
    return int(datetime.fromisoformat(sent["timestamp"]).timestamp() * 1000 + 0.5)


def archived(source, *messages, abandoned=False, received=NOON_MS):
    """The messages are the next batch of the source's archive. abandoned: written, then given up."""
    log = open_log(stage="archive", partition=source.pk, workspace_id=source.workspace_id)
    number = log.last_number + 1
    rows = [
        ArchivedRow(at_ms(each), received, each["type"], each.get("event", ""), each["messageId"], _as_archived(each))
        for each in messages
    ]
    if rows:
        archive_table.insert(workspace_id=source.workspace_id, source_id=source.pk, piece=number, rows=rows)
    if abandoned:
        log.abandoned.create(workspace_id=source.workspace_id, number=number)
    Log.objects.filter(pk=log.pk).update(last_number=number, committed=number)
    return number


def _as_archived(message):
    """As the archive stage writes it; with escapes where UTF-8 has no letters."""
    try:
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(message).encode()


def listening(space, source):
    """The space hears what the source archives from now on."""
    end = open_log(stage="archive", partition=source.pk, workspace_id=source.workspace_id).committed
    return Connection.objects.create(
        workspace_id=space.workspace_id,
        space=space,
        source=source,
        state=Connection.State.LIVE,
        cutoff=end,
        piece=end,
        position=WHOLE_PIECE,
    )


def resolve_log(space):
    return open_log(stage="resolve", partition=space.pk, workspace_id=space.workspace_id)


def stage(**sizes):
    return Resolve(FixedClock(NOON), **sizes)


def resolved(space, using=None):
    """Everything that waits is resolved. Returns how many batches it took."""
    log, using, pieces = resolve_log(space), using or stage(), 0
    while advance(using, log):
        pieces += 1
    return pieces


def scope(space):
    return Scope(space.workspace_id, space.pk, visible(resolve_log(space)))


def recorded(space):
    return timeline.page(scope(space), limit=1_000_000)


def canonical_numbers(space):
    """Of every profile number the one that is left."""
    return {
        number: winner or number
        for number, winner in Profile.objects.filter(space=space).values_list("number", "merged_into")
    }


def people(space, kind=Profile.Kind.USER):
    """The profiles as (identifiers, messages, traits), as the tables have them, in no order."""
    canonical = canonical_numbers(space)
    identifiers, messages = defaultdict(set), defaultdict(set)
    for profile, type, value in Identifier.objects.filter(space=space).values_list("profile", "type", "value"):
        identifiers[profile].add((type, value))
    for profile, id in _own_events(space):
        messages[canonical[profile]].add(id)
    alive = Profile.objects.filter(space=space, kind=kind, merged_into=None)
    return {
        (frozenset(identifiers[each.number]), frozenset(messages[each.number]), _frozen(each.traits)) for each in alive
    }


def links(space):
    """(identifiers of a person, group id), followed to who is left."""
    canonical = canonical_numbers(space)
    holders = defaultdict(set)
    for profile, type, value in Identifier.objects.filter(space=space).values_list("profile", "type", "value"):
        holders[profile].add((type, value))
    return {
        (frozenset(holders[canonical[user]]), next(value for _, value in holders[canonical[account]]))
        for user, account in Link.objects.filter(space=space).values_list("user", "account")
    }


def reference(space, policy, sent):
    """The slow resolver, fed with the messages in the order in which the space recorded them.

    sent: (source id, archive batch, position, message). Those that are not recorded are nobody's there too.
    """
    by_id = {(source, each["messageId"]): (source, piece, place, each) for source, piece, place, each in sent}
    slow = Reference(policy.to_json())
    order = [(row.source, row.message_id) for row in recorded(space)]
    for key in [*order, *(by_id.keys() - set(order))]:
        source, piece, place, each = by_id[key]
        slow.feed(Fed(each, key[1], at_ms(each), (source, piece, place)))
    nobodys = [id for source, id in by_id.keys() - set(order) if slow.profile_of(id) or slow.account_of(id)]
    assert not nobodys
    assert len(order) == len(set(order))
    return slow


def as_sets(profiles):
    return {(each.identifiers, each.messages, _frozen(each.traits)) for each in profiles}


def _own_events(space):
    """(profile, message id) of the profile pages: the timeline's, and group calls on their accounts' too."""
    seen = scope(space).condition
    return client.rows("SELECT profile, message_id FROM profile_events WHERE " + seen)


def _frozen(traits):
    return json.dumps(traits, sort_keys=True)


def crowd(space, *, account, first, count):
    """So many users, numbered from `first`, belong to the account of this number."""
    same = {"workspace": space.workspace, "space": space, "first_seen_at": NOON}
    numbers = range(first, first + count)
    Profile.objects.bulk_create(Profile(number=number, **same) for number in numbers)
    Link.objects.bulk_create(Link(user=number, account=account, **same) for number in numbers)
