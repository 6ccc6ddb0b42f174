"""How far a space is, its timeline, its people and accounts, and its identity rules by REST."""

import re
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pyroaring import BitMap
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import Keyed, PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import answer
from access.errors import NOTHING, Unavailable, invalid
from access.requests import ApiRequest
from identity import derived, history, queries
from identity.api.serializers import (
    COLLECTION_OF,
    INCLUDED,
    ChangeRules,
    MergeSerializer,
    NoteAnswer,
    PlacedSerializer,
    ProfileAnswer,
    ProfileEventSerializer,
    ProfileSerializer,
    RelatedSerializer,
    ResolutionAnswer,
    RulesAnswer,
    SeenIdSerializer,
    TraitSerializer,
    WriteNote,
    by_key,
    details_of,
    policy_in,
)
from identity.derived import DerivedReader, SearchFailed, TraitQuery, TraitSearch, nobody, none_derived
from identity.history import Placed
from identity.models import KEY_LENGTH, Profile
from identity.naming import shown_name
from identity.rules.policy import policy_of
from identity.services import change_policy, write_note
from sources.events import timeline
from sources.events.timeline import START, ProfileEvent, Which
from spaces import personal
from spaces.clock import clock
from spaces.needs import needs

TIMELINE_PAGE = 10_000
MOST_TRAITS, MOST_EVENTS = 200, 100  # on a page
MATCHES = ("exact", "begins")
SPARE = 1_000  # profiles that are looked up beside those of a page, since some may be merged by now


@needs("space.read")
class ResolutionView(APIView):
    @extend_schema(operation_id="get_resolution", responses=ResolutionAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """How many archived events are not resolved yet, whether a replay runs, and the newest batch."""
        now = clock.now()  # before the look: what was archived by then is resolved, or waits
        progress = history.resolve_progress(request.space)
        return answer(
            ResolutionAnswer,
            waiting=progress.waiting,
            replaying=progress.replaying,
            asOf=now,
            piece=progress.piece,
        )


@needs("space.read")
class TimelineView(PagedView):
    pagination_class = Pages.of("timeline", most=TIMELINE_PAGE)

    @extend_schema(operation_id="list_timeline", responses=PlacedSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """Every resolved event, in the order of resolving, with the profile that it belongs to now."""
        space, scope = request.space, history.scope_of(request.space)

        def read(after: str | None, limit: int) -> list[Placed]:
            piece, position = _place(after, 2) if after else START
            return history.recorded(space, scope, after=(piece, position), limit=limit)

        rows = Keyed(read, lambda placed: f"{placed.row.piece}.{placed.row.position}", timeline.count(scope))
        return self.paged(rows, PlacedSerializer)


@needs("space.read")
class ProfilesView(PagedView):
    """having: finds people by the value of a trait; handed over in `personas_site.urls`."""

    pagination_class = Pages.of("profiles", order="number")
    having: TraitSearch = staticmethod(nobody)

    @extend_schema(
        operation_id="list_profiles",
        parameters=[
            OpenApiParameter(
                "collection", enum=list(queries.COLLECTIONS), default="users", description="People, or accounts."
            ),
            OpenApiParameter("identifier", description="Only who holds it: `type:value`, the whole value."),
            OpenApiParameter(
                "trait",
                description="Only who has this trait, or what a dot leads to inside of it: sent, SQL, computed.",
            ),
            OpenApiParameter(
                "value",
                description="Only who has this value of `trait`, in letters of either size; of a list one of it.",
            ),
            OpenApiParameter(
                "match", enum=MATCHES, default=MATCHES[0], description="Whether `value` is all of it, or its beginning."
            ),
            OpenApiParameter("include", description="`identifiers`, `traits`, or both with a comma between them."),
        ],
        responses=ProfileSerializer(many=True),
    )
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """People, or accounts, the oldest first. What was merged into another profile is not among them."""
        collection = request.query_params.get("collection", "users")
        if collection not in queries.COLLECTIONS:
            raise invalid("Must be users or accounts.", "collection")
        rows = queries.living(request.space, queries.COLLECTIONS[collection])
        if (wanted := request.query_params.get("identifier")) is not None:
            holders = _holders(request, wanted, field="identifier")
            rows = rows.filter(number__in=holders.values("number"))
        include = _words(request, "include")
        if set(include) - INCLUDED:
            raise invalid("Must be identifiers, traits, or both.", "include")
        if "identifiers" in include:
            rows = queries.with_identifiers(rows)
        context = {"include": include}
        if trait := request.query_params.get("trait", "")[:KEY_LENGTH]:
            having = self._of_numbers(rows, self._holders_of(request, collection, trait))
            return self.paged(having, ProfileSerializer, context=context)
        return self.paged(rows, ProfileSerializer, context=context)

    def _holders_of(self, request: ApiRequest, collection: str, trait: str) -> BitMap:
        if personal.hides(trait):
            raise PermissionDenied("You may not see personal data, nor search for it.")
        match = request.query_params.get("match", MATCHES[0])
        if match not in MATCHES:
            raise invalid(f"Must be {' or '.join(MATCHES)}.", "match")
        wanted = TraitQuery(trait, request.query_params.get("value", ""), begins=match == "begins")
        try:
            return self.having(request.space, collection, wanted)
        except SearchFailed as error:
            raise Unavailable(str(error)) from error

    def _of_numbers(self, rows: QuerySet[Profile], numbers: BitMap) -> Keyed:
        """Those of these numbers, which may be a million: a page of them is looked up at a time."""

        def read(after: str | None, limit: int) -> list[Profile]:
            begun = numbers.rank(min(max(_place(after, 1)[0], 0), 2**32 - 1)) if after else 0
            return list(rows.filter(number__in=numbers[begun : begun + limit + SPARE]).order_by("number")[:limit])

        return Keyed(read, lambda profile: str(profile.number), len(numbers))


CLASS = OpenApiParameter(
    "class",
    description="Only traits of these kinds, with commas between them: " + ", ".join(derived.KINDS) + ".",
)


class OfProfile(PagedView):
    """What the views below a profile share: it is named by its id, or by `type:value` of an identifier.

    derived: reads computed traits and audiences of a person; handed over in `personas_site.urls`.
    """

    derived: DerivedReader = staticmethod(none_derived)

    def details(self, request: ApiRequest, profile: Profile) -> list[dict[str, Any]]:
        """Its traits, of the kinds that were asked for, each with where it is from."""
        kinds = _words(request, "class") or list(derived.KINDS)
        if unknown := sorted(set(kinds) - set(derived.KINDS)):
            raise invalid(f"There is no kind of traits {unknown[0]}: {', '.join(derived.KINDS)}.", "class")
        # What is sent by a SQL trait is to be told from the rest.
        wanted = {*kinds, derived.SQL} if derived.CUSTOM in kinds else set(kinds)
        return details_of(profile, self.derived(request.space, profile, wanted), kinds)

    def profile_or_404(self, request: ApiRequest, profile_id: str) -> tuple[Profile, BitMap]:
        """The profile, or the one it was merged into; and all numbers of that person. Raises NotFound."""
        # No public id has a colon, and every `type:value` has one.
        profile = (
            _holders(request, profile_id, field=None).first()
            if ":" in profile_id
            else queries.profile_of(request.space, profile_id)
        )
        if profile is None:
            raise NotFound(NOTHING)
        return profile, queries.all_numbers(request.space, [profile.number])


@needs("space.read")
class ProfileView(OfProfile):
    @extend_schema(operation_id="get_profile", parameters=[CLASS], responses=ProfileAnswer)
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """One person or account. An id that was merged away is answered with its winner, and `mergedFrom` says so.

        `traits` has the traits of all kinds: those that were sent, SQL traits, computed traits, and audiences under
        their keys with true; `traitDetails` says of each what it is, and where and when its value is from.
        """
        profile, numbers = self.profile_or_404(request, profile_id)
        space = request.space
        # A 200 and a word, no redirect: a client that keeps the old id goes on working, and can learn the new one.
        asked_for_another = profile_id.startswith("use_") and profile_id != profile.public_id
        identifiers = list(queries.identifiers_in_order(profile)[: queries.MANY])
        # Before `first_seen_at`: that is when the profile came to be, and an event that came late may be older.
        seen = history.seen_between(history.scope_of(space), [*numbers])
        related = queries.with_identifiers(queries.relations_of(space, numbers))
        others = "users" if profile.kind == Profile.Kind.ACCOUNT else "accounts"
        details = self.details(request, profile)
        return answer(
            ProfileAnswer,
            profile={
                "id": profile.public_id,
                "collection": COLLECTION_OF[profile.kind],
                "name": shown_name(profile.traits, [(row.type, row.value) for row in identifiers]) or None,
                "traits": {key: row["value"] for key, row in by_key(details).items()},
                "traitDetails": details,
                "identifiers": identifiers,
                "mergedIds": sorted(set(queries.own_ids(space, numbers).values()) - {profile.public_id}),
                others: related.order_by("number")[: queries.MANY],
                "relatedTotal": related.count(),
                "firstSeenAt": seen[0] if seen else profile.first_seen_at,
                "lastSeenAt": seen[1] if seen else None,
            },
            mergedFrom=profile_id if asked_for_another else None,
            context={"sources": queries.source_ids(row.source_id for row in identifiers if row.source_id)},
        )


TraitPages = Pages.of("traits", most=MOST_TRAITS)


@needs("space.read")
class TraitsView(OfProfile):
    pagination_class = TraitPages

    @extend_schema(
        operation_id="list_traits",
        parameters=[
            OpenApiParameter("include", description="Only these traits, with commas between them."),
            CLASS,
            OpenApiParameter("verbose", bool, description="Each with the source and the time of its value."),
            *TraitPages.parameters(),
        ],
        responses={
            200: TraitPages().get_paginated_response_schema(
                {"type": "object", "additionalProperties": True, "examples": [{"name": "Ada", "plan": "pro"}]}
            )
        },
    )
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """The value of each trait, in the order of their keys: of those that were sent the newest by event time.

        Computed traits and audiences are among them, these under their keys with true. Where a custom trait has the key
        of another one, it is the custom one.
        """
        profile, _ = self.profile_or_404(request, profile_id)
        wanted, rows = _words(request, "include"), by_key(self.details(request, profile))
        # By name, which is what a cursor can hold on to: they are one JSON value and have no order of their own.
        keys = sorted(key for key in rows if not wanted or key in wanted)

        def read(after: str | None, limit: int) -> list[str]:
            return [key for key in keys if after is None or key > after][:limit]

        shown = self.paginate_queryset(Keyed(read, str, len(keys)))
        verbose = request.query_params.get("verbose") == "true"
        return self.get_paginated_response(
            {key: TraitSerializer(rows[key]).data if verbose else rows[key]["value"] for key in shown}
        )


@needs("space.read")
class ExternalIdsView(OfProfile):
    pagination_class = Pages.of("externalIds", order="number")

    @extend_schema(
        operation_id="list_external_ids",
        parameters=[
            OpenApiParameter("include", description="Only identifiers of these types, with commas between them.")
        ],
        responses=SeenIdSerializer(many=True),
    )
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """What identifies them, each with the event that brought it; in the order in which they came."""
        profile, _ = self.profile_or_404(request, profile_id)
        rows = queries.identifiers_in_order(profile)
        if wanted := _words(request, "include"):
            rows = rows.filter(type__in=wanted)
        context = {
            "sources": queries.source_ids(rows.values_list("source_id", flat=True)),
            "collection": COLLECTION_OF[profile.kind],
        }
        return self.paged(rows, SeenIdSerializer, context=context)


@needs("space.read")
class ProfileEventsView(OfProfile):
    pagination_class = Pages.of("events", most=MOST_EVENTS)

    @extend_schema(
        operation_id="list_profile_events",
        parameters=[
            OpenApiParameter("include", description="Only events of these names, with commas between them."),
            OpenApiParameter("exclude", description="All but the events of these names."),
            OpenApiParameter("start", description="Only events from this moment on (ISO 8601)."),
            OpenApiParameter("end", description="Only events before this moment (ISO 8601)."),
        ],
        responses=ProfileEventSerializer(many=True),
    )
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """Their events, newest first, each with its identifiers and its message as archived."""
        profile, numbers = self.profile_or_404(request, profile_id)
        scope = history.scope_of(request.space)
        which = Which(
            include=_words(request, "include"),
            exclude=_words(request, "exclude"),
            start=asked_moment(request, "start"),
            end=asked_moment(request, "end"),
        )

        def read(after: str | None, limit: int) -> list[ProfileEvent]:
            before = _place(after, 4) if after else None
            return timeline.events_of(scope, [*numbers], which=which, beyond=before, limit=limit)  # type: ignore[arg-type]

        # From counts by event: to count the rows of somebody with a million events by reading them would be slow.
        total = sum(row[2] for row in timeline.counts_of(scope, [*numbers], which=which))
        events = self.paginate_queryset(Keyed(read, lambda event: ".".join(map(str, event.key)), total))
        context = {
            "collection": COLLECTION_OF[profile.kind],
            "sources": queries.source_ids(event.source for event in events),
        }
        return self.get_paginated_response(ProfileEventSerializer(events, many=True, context=context).data)


@needs("space.read", PUT="space.use")
class NoteView(OfProfile):
    @extend_schema(operation_id="get_profile_note", responses=NoteAnswer)
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """What the team wrote about them."""
        _, numbers = self.profile_or_404(request, profile_id)
        return answer(NoteAnswer, note=queries.note_of(request.space, numbers))

    @extend_schema(operation_id="write_profile_note", request=WriteNote, responses=NoteAnswer)
    def put(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """A label and a note for the team, in place of what was there; blank = none."""
        profile, numbers = self.profile_or_404(request, profile_id)
        write_note(profile, **parsed(WriteNote, request), by=request)
        return answer(NoteAnswer, note=queries.note_of(request.space, numbers))


@needs("space.read")
class MergesView(OfProfile):
    pagination_class = Pages.of("merges", order="-id")

    @extend_schema(operation_id="list_merges", responses=MergeSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """Which profiles became part of this one, because of which event, and why; the newest first."""
        _, numbers = self.profile_or_404(request, profile_id)
        rows = queries.merges_of(request.space, numbers)
        context = {
            "ids": queries.own_ids(request.space, numbers),
            "sources": queries.source_ids(rows.values_list("source_id", flat=True)),
        }
        return self.paged(rows, MergeSerializer, context=context)


@needs("space.read")
class RelatedView(OfProfile):
    pagination_class = Pages.of("related", order="number")

    @extend_schema(operation_id="list_related_profiles", responses=RelatedSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """The accounts of a user, or the users of an account, as they are now."""
        _, numbers = self.profile_or_404(request, profile_id)
        return self.paged(queries.with_identifiers(queries.relations_of(request.space, numbers)), RelatedSerializer)


@needs("space.read", PUT="space.admin")
class IdentityRulesView(APIView):
    @extend_schema(operation_id="get_identity_rules", responses=RulesAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """By which rules the space tells who is who: its identifiers, most trusted first, and the caps of a profile."""
        return _rules(request)

    @extend_schema(operation_id="change_identity_rules", request=ChangeRules, responses=RulesAnswer)
    def put(self, request: ApiRequest, space_id: str) -> Response:
        """Other rules for what comes from now on; null = the default ones. What was resolved before stays."""
        change_policy(request.space, policy_in(parsed(ChangeRules, request)), by=request)
        return _rules(request)


def _rules(request: ApiRequest) -> Response:
    kept = request.space.identity_policy
    return answer(RulesAnswer, identityRules=policy_of(kept).to_json(), isDefault=kept is None)


def _holders(request: ApiRequest, text: str, *, field: str | None) -> QuerySet[Profile]:
    """Who holds an identifier, given as `type:value`."""
    type, colon, value = text.partition(":")
    # In an address there is no field to be wrong: what is no identifier leads to nobody, and to a 404.
    if field and not (type and colon and value):
        raise invalid("Must be the type and the value of an identifier, such as email:ada@example.com.", field)
    return queries.holders(request.space, type, value)


def _words(request: ApiRequest, name: str) -> list[str]:
    return [word for word in request.query_params.get(name, "").split(",") if word]


def asked_moment(request: ApiRequest, name: str) -> datetime | None:
    if not (asked := request.query_params.get(name)):
        return None
    try:
        at = datetime.fromisoformat(asked)
    except ValueError as error:
        raise invalid("Must be a moment such as 2026-06-15T12:00:00Z.", name) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)  # as collect reads a time without a zone


def _place(text: str, parts: int) -> tuple[int, ...]:
    """A place in a list from its cursor. Raises ValueError."""
    # A cursor is what somebody sends: numbers that no column holds would be an error of the store's.
    numbers = text.split(".")
    if len(numbers) != parts or not all(re.fullmatch(r"-?[0-9]{1,13}", number) for number in numbers):
        raise ValueError(text)
    return tuple(map(int, numbers))
