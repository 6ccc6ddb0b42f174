"""Everything that is known about a person, read part by part, so that a long history costs no memory.

JSON and HTML are two ways to write the same parts: what one of them has, the other has too.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from pyroaring import BitMap

from audiences.explain import memberships
from audiences.models import Audience
from audiences.trait_overview import of_profile
from destinations.erasure import acknowledged_of
from destinations.models import Subscription
from destinations.queries import deliveries
from identity import queries
from identity.history import scope_of
from identity.models import Evidence, Identifier, Link, Profile
from sources.events import client, timeline
from sources.events.schema import MEMBERSHIP_LOG, TRAITS
from sources.events.sql import sql
from sources.models import Source
from spaces.batches import visible_logs
from spaces.models import Space
from spaces.times import from_milliseconds, iso

AT_ONCE = 500  # rows of ClickHouse that are read together
Row = tuple[Any, ...]


@dataclass(frozen=True)
class ExportPart:
    """One kind of thing that is known. columns: names as the JSON has them, of the values of each row."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterable[Row]]


class _Person:
    """Reads each part. Rows are plain JSON, moments ISO 8601 in UTC."""

    def __init__(self, space: Space, profile: Profile) -> None:
        self.space, self.profile = space, profile
        # Rows carry the number of their moment: what came before a merge stands under the loser's.
        self.numbers = queries.all_numbers(space, [profile.number])
        self.source_names = dict(Source.everything.filter(workspace=space.workspace_id).values_list("pk", "name"))
        self.held_identifiers = list(Identifier.objects.filter(space=space, profile=profile.number).order_by("number"))

    def source(self, pk: int | None) -> str:
        return self.source_names.get(pk or 0, "")

    def itself(self) -> Iterator[Row]:
        yield self.profile.public_id, self.profile.get_kind_display(), self.space.name, iso(self.profile.first_seen_at)

    def identifiers(self) -> Iterator[Row]:
        for row in self.held_identifiers:
            yield row.type, row.value, iso(row.first_seen_at), self.source(row.source_id), row.message_id

    def traits(self) -> Iterator[Row]:
        for name, value in sorted(self.profile.traits.items()):
            # A value of which nobody knows whence it is, is theirs all the same.
            at, source, *_ = self.profile.traits_seen.get(name, (None, None))
            yield name, value, at and iso(from_milliseconds(at)), self.source(source)

    def trait_history(self) -> Iterator[Row]:
        """Each value that ever came, oldest first; null where a trait was taken away."""
        # From the events' own rows: PostgreSQL keeps the newest value alone.
        query = sql(
            f"SELECT key, value, toUnixTimestamp64Milli(ts), source FROM {TRAITS.name}"
            " WHERE %s AND profile IN %s ORDER BY key, ts, source, origin_piece, origin_position",
            scope_of(self.space).condition,
            [*self.numbers],
        )
        for name, value, at, source in client.rows(query):
            yield name, json.loads(value), iso(from_milliseconds(at)), self.source(source)

    def computed(self) -> Iterator[Row]:
        for kept in of_profile(self.space, self.profile.number):
            yield kept.trait.name, kept.trait.key, kept.shown, iso(kept.at)

    def audiences(self) -> Iterator[Row]:
        for membership in memberships(self.space, self.profile)[0]:
            yield membership.audience.name, membership.audience.key, membership.at and iso(membership.at)

    def past(self) -> Iterator[Row]:
        # Deleted ones, too: that somebody was in them is known as long as the log is kept.
        names = dict(Audience.everything.filter(space=self.space).values_list("pk", "name"))
        seen = client.seen(visible_logs(stage="evaluate", partitions=[self.space.pk])[self.space.pk])
        query = sql(
            f"SELECT audience, entered, toUnixTimestamp64Milli(at), cause FROM {MEMBERSHIP_LOG.name}"
            " WHERE workspace = %s AND space = %s AND profile IN %s AND %s ORDER BY piece, audience",
            self.space.workspace_id,
            self.space.pk,
            [*self.numbers],
            seen,
        )
        for audience, entered, at, cause in client.rows(query):
            yield names.get(audience, ""), bool(entered), iso(from_milliseconds(at)), cause

    def events(self) -> Iterator[Row]:
        """Newest first."""
        scope, beyond = scope_of(self.space), None
        # By pages: a person may have more events than fit into memory.
        while page := timeline.events_of(scope, [*self.numbers], beyond=beyond, limit=AT_ONCE):
            for event in page:
                at, source = iso(from_milliseconds(event.ts)), self.source(event.source)
                yield at, event.type, event.event, source, event.message_id, json.loads(event.message)
            beyond = page[-1].key

    def deliveries(self) -> Iterator[Row]:
        """Newest first, by identifier. A call about many people is shown with the first of them alone."""
        subscriptions = Subscription.everything.filter(space=self.space).select_related("destination", "audience")
        names = {each.pk: (each.destination.name, each.audience.name) for each in subscriptions}
        for identifier in self.held_identifiers:
            # By identifier, as the log is ordered: by person all of it would be read.
            calls = deliveries(subscriptions, space=self.space, identifier=identifier.number)
            start = 0
            while page := calls[start : start + AT_ONCE]:
                for call in page:
                    who = f"{identifier.type}:{identifier.value}"
                    told = (call.outcome, call.request, call.response)
                    yield (iso(call.at), *names.get(call.subscription, ("", "")), call.entering, who, *told)
                start += AT_ONCE

    def held(self) -> Iterator[Row]:
        numbers = BitMap([row.number for row in self.held_identifiers])
        rows = acknowledged_of(self.space, numbers, self.numbers).exclude(state=0)
        for row in rows.select_related("subscription__destination", "subscription__audience").iterator():
            said = {type: value for type, (_, value) in row.sent.items()}
            yield row.subscription.destination.name, row.subscription.audience.name, said, iso(row.at)

    def evidence(self) -> Iterator[Row]:
        rows = Evidence.objects.filter(space=self.space, profile__in=[*self.numbers]).order_by("first_seen_at", "pk")
        for row in rows.iterator():
            first = (iso(row.first_seen_at), self.source(row.first_source_id))
            last = (iso(row.last_seen_at), self.source(row.last_source_id))
            yield (row.identifiers, row.refused, row.set_aside, row.events, *first, *last)

    def merges(self) -> Iterator[Row]:
        ids = queries.own_ids(self.space, self.numbers)
        for row in queries.merges_of(self.space, self.numbers).order_by("pk"):
            said = (self.source(row.source_id), row.message_id, row.reason)
            yield (ids.get(row.loser, ""), ids.get(row.winner, ""), iso(row.at), *said)

    def relations(self) -> Iterator[Row]:
        """The others by their ids alone: what is known about them is not about this person."""
        first = dict(
            Link.objects.filter(space=self.space, user__in=[*self.numbers]).values_list("account", "first_seen_at")
        )
        for other in queries.relations_of(self.space, self.numbers).order_by("number"):
            at: datetime | None = first.get(other.number)
            yield other.public_id, other.get_kind_display(), at and iso(at)


# What an export consists of, in this order: by its key the title, the columns and who reads them.
KNOWN: dict[str, tuple[str, tuple[str, ...], Callable[[_Person], Iterable[Row]]]] = {
    "profile": ("Profile", ("id", "kind", "space", "firstSeenAt"), _Person.itself),
    "identifiers": ("Identifiers", ("type", "value", "firstSeenAt", "source", "messageId"), _Person.identifiers),
    "traits": ("Traits", ("name", "value", "at", "source"), _Person.traits),
    "traitHistory": ("History of traits", ("name", "value", "at", "source"), _Person.trait_history),
    "computedTraits": ("Computed traits", ("name", "key", "value", "since"), _Person.computed),
    "audiences": ("Audiences", ("name", "key", "since"), _Person.audiences),
    "membershipHistory": ("History of audiences", ("audience", "entered", "at", "cause"), _Person.past),
    "events": ("Events", ("at", "type", "event", "source", "messageId", "message"), _Person.events),
    "deliveries": (
        "Deliveries to destinations",
        ("at", "destination", "audience", "entering", "identifier", "outcome", "request", "response"),
        _Person.deliveries,
    ),
    "destinations": ("Destinations that hold them", ("destination", "audience", "identifiers", "since"), _Person.held),
    "evidence": (
        "Why these are one person",
        ("identifiers", "refused", "setAside", "events", "firstSeenAt", "firstSource", "lastSeenAt", "lastSource"),
        _Person.evidence,
    ),
    "merges": ("Merges", ("from", "into", "at", "source", "messageId", "reason"), _Person.merges),
    "relations": ("Accounts and users", ("id", "kind", "firstSeenAt"), _Person.relations),
}


def parts_of(space: Space, profile: Profile) -> list[ExportPart]:
    """profile: the canonical one. What its merged profiles brought is among it."""
    person = _Person(space, profile)
    return [ExportPart(key, title, columns, partial(rows, person)) for key, (title, columns, rows) in KNOWN.items()]


def as_json(parts: Iterable[ExportPart]) -> Iterator[str]:
    """One object: of each part a list of objects."""
    opening = "{\n"
    for part in parts:
        yield f"{opening}{json.dumps(part.key)}: ["
        # A list is written row by row, so the comma stands before each but the first.
        separator = "\n"
        for row in part.rows():
            yield separator + json.dumps(dict(zip(part.columns, row, strict=True)), ensure_ascii=False)
            separator = ",\n"
        yield "]"
        opening = ",\n"
    yield "\n}\n"


HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1.5rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
td {{ overflow-wrap: anywhere; white-space: pre-wrap; }}
</style></head><body><h1>{title}</h1>
<p>Everything that is known about this person in the space {space}, as of {at}.</p>
"""


def as_html(parts: Iterable[ExportPart], *, title: str, space: str, now: datetime) -> Iterator[SafeString]:
    """A page that needs nothing else: it can be handed on as a file."""
    yield format_html(HEAD, title=title, space=space, at=iso(now))
    for part in parts:
        yield format_html('<section aria-labelledby="{}"><h2 id="{}">{}</h2>', part.key, part.key, part.title)
        is_empty = True
        for row in part.rows():
            # The heading of a table waits for its first row: an empty table says less than a word does.
            if is_empty:
                yield format_html(
                    '<div class="scroll" tabindex="0" role="group" aria-label="{}"><table><thead><tr>', part.title
                )
                for column in part.columns:
                    yield format_html('<th scope="col">{}</th>', column)
                yield format_html("</tr></thead><tbody>\n")
                is_empty = False
            yield format_html("<tr>")
            for value in row:
                yield format_html("<td>{}</td>", _cell(value))
            yield format_html("</tr>\n")
        yield format_html("<p>Nothing.</p></section>\n" if is_empty else "</tbody></table></div></section>\n")
    yield format_html("</body></html>\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
