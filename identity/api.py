"""How far a space is, its timeline, its people and accounts, and its identity rules by REST."""

import re
from datetime import UTC, datetime

from django.db.models import QuerySet
from pyroaring import BitMap
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api import moment
from access.envelope import data, invalid, keyed_page, missing, page, parsed
from access.requests import ApiRequest
from identity import queries
from identity.models import Profile
from identity.policies import change_policy, policy_of
from identity.queries import Placed
from identity.rules.decision import Policy, PolicyError
from identity.serializers import (
    COLLECTION_OF,
    RulesBody,
    render_event,
    render_external_id,
    render_listed,
    render_merge,
    render_placed,
    render_profile,
    render_related,
    verbose_traits,
)
from sources.events import timeline
from sources.events.timeline import START, ProfileEvent, Which
from spaces.clock import clock
from spaces.needs import needs

TIMELINE_PAGE = 10_000
MOST_TRAITS, MOST_EVENTS = 200, 100  # on a page


@needs("space.read")
class ResolutionView(APIView):
    paged = False

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """How many archived events are not resolved yet, whether a replay runs, and the newest batch."""
        now = clock.now()  # before the look: what was archived by then is resolved, or waits
        found = queries.resolution(request.space)
        return data(waiting=found.waiting, replaying=found.replaying, asOf=moment(now), piece=found.piece)


@needs("space.read")
class TimelineView(APIView):
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """Every resolved event, in the order of resolving, with the profile that it belongs to now."""
        space, scope = request.space, queries.scope_of(request.space)

        def read(after: str | None, limit: int) -> list[Placed]:
            piece, position = _place(after, 2) if after else START
            return queries.recorded(space, scope, after=(piece, position), limit=limit)

        return keyed_page(
            request,
            read,
            name="timeline",
            key=lambda each: f"{each.row.piece}.{each.row.position}",
            render=render_placed,
            total=timeline.count(scope),
            most=TIMELINE_PAGE,
        )


@needs("space.read")
class ProfilesView(APIView):
    asks = {
        "collection": "`users`, as when it is not given, or `accounts`",
        "identifier": "only who holds it: `type:value`, the whole value",
        "include": "`identifiers`, `traits`, or both with a comma between them",
    }

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """People, or accounts, the oldest first. What was merged into another profile is not among them."""
        collection = request.query_params.get("collection", "users")
        if collection not in queries.COLLECTIONS:
            raise invalid("Must be users or accounts.", "collection")
        rows = queries.living(request.space, queries.COLLECTIONS[collection])
        if (wanted := request.query_params.get("identifier")) is not None:
            holders = _holders(request, wanted, field="identifier")
            rows = rows.filter(number__in=holders.values("number"))
        include = _include(request)
        if "identifiers" in include:
            rows = queries.with_identifiers(rows)
        return page(request, rows, name="profiles", render=lambda each: render_listed(each, include), order="number")


class OfProfile(APIView):
    """What the views below a profile share: it is named by its id, or by `type:value` of an identifier."""

    paged = True

    def found(self, request: ApiRequest, profile_id: str) -> tuple[Profile, BitMap]:
        """The profile, or the one it was merged into; and all numbers of that person. Raises ApiError."""
        profile = (
            _holders(request, profile_id, field=None).first()
            if ":" in profile_id
            else queries.profile_of(request.space, profile_id)
        )
        if profile is None:
            raise missing()
        return profile, queries.all_numbers(request.space, [profile.number])


@needs("space.read")
class ProfileView(OfProfile):
    paged = False

    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """One person or account. An id that was merged away is answered with its winner, and `mergedFrom` says so."""
        profile, numbers = self.found(request, profile_id)
        asked_for_another = profile_id.startswith("use_") and profile_id != profile.public_id
        return data(
            profile=render_profile(request.space, profile, numbers),
            mergedFrom=profile_id if asked_for_another else None,
        )


@needs("space.read")
class TraitsView(OfProfile):
    asks = {
        "include": "only these traits, with commas between them",
        "verbose": "`true`: each with the source and the time of its value",
    }

    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """The newest value of each trait, by event time; in the order of their names."""
        profile, _ = self.found(request, profile_id)
        wanted = _words(request, "include")
        keys = sorted(key for key in profile.traits if not wanted or key in wanted)
        render = verbose_traits(profile) if request.query_params.get("verbose") == "true" else profile.traits.get
        return keyed_page(
            request,
            lambda after, limit: [key for key in keys if after is None or key > after][:limit],
            name="traits",
            key=str,
            render=lambda key: (key, render(key)),
            total=len(keys),
            most=MOST_TRAITS,
            gather=dict,
        )


@needs("space.read")
class ExternalIdsView(OfProfile):
    asks = {"include": "only identifiers of these types, with commas between them"}

    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """What identifies them, each with the event that brought it; in the order in which they came."""
        profile, _ = self.found(request, profile_id)
        rows = queries.held_by(profile)
        if wanted := _words(request, "include"):
            rows = rows.filter(type__in=wanted)
        sources = queries.source_ids(rows.values_list("source_id", flat=True))
        return page(
            request,
            rows,
            name="externalIds",
            render=lambda each: render_external_id(each, profile, sources),
            order="number",
        )


@needs("space.read")
class ProfileEventsView(OfProfile):
    asks = {
        "include": "only events of these names, with commas between them",
        "exclude": "all but the events of these names",
        "start": "only events from this moment on (ISO 8601)",
        "end": "only events before this moment (ISO 8601)",
    }

    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """Their events, newest first, each with its identifiers and its message as archived."""
        profile, numbers = self.found(request, profile_id)
        scope, which = queries.scope_of(request.space), _which(request)

        def read(after: str | None, limit: int) -> list[tuple[ProfileEvent, str | None]]:
            before = _place(after, 4) if after else None
            rows = timeline.events_of(scope, [*numbers], which=which, before=before, limit=limit)  # type: ignore[arg-type]
            sources = queries.source_ids(row.source for row in rows)
            return [(row, sources.get(row.source)) for row in rows]

        return keyed_page(
            request,
            read,
            name="events",
            key=lambda each: ".".join(map(str, each[0].key)),
            render=lambda each: render_event(each[0], each[1], COLLECTION_OF[profile.kind]),
            total=sum(row[2] for row in timeline.counts_of(scope, [*numbers], which=which)),
            most=MOST_EVENTS,
        )


@needs("space.read")
class MergesView(OfProfile):
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """Which profiles became part of this one, because of which event, and why; the newest first."""
        _, numbers = self.found(request, profile_id)
        rows = queries.merges_of(request.space, numbers)
        ids = queries.own_ids(request.space, numbers)
        sources = queries.source_ids(rows.values_list("source_id", flat=True))
        return page(request, rows, name="merges", render=lambda each: render_merge(each, ids, sources), order="-id")


@needs("space.read")
class RelatedView(OfProfile):
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """The accounts of a user, or the users of an account, as they are now."""
        _, numbers = self.found(request, profile_id)
        rows = queries.with_identifiers(queries.relations_of(request.space, numbers))
        return page(request, rows, name="related", render=render_related, order="number")


@needs("space.read", PUT="space.admin")
class IdentityRulesView(APIView):
    paged = False
    takes = {"PUT": RulesBody}

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """By which rules the space tells who is who: its identifiers, most trusted first, and the caps of a profile."""
        return _rules(request)

    def put(self, request: ApiRequest, space_id: str) -> Response:
        """Other rules for what comes from now on; null = the default ones. What was resolved before stays."""
        wanted = parsed(RulesBody, request)["identityRules"]
        try:
            policy = None if wanted is None else Policy.from_json(wanted)
        except PolicyError as error:
            raise invalid(error.message, f"identityRules.{error.path}" if error.path else "identityRules") from error
        change_policy(request.space, policy, by=request)
        return _rules(request)


def _rules(request: ApiRequest) -> Response:
    kept = request.space.identity_policy
    return data(identityRules=policy_of(kept).to_json(), isDefault=kept is None)


def _holders(request: ApiRequest, text: str, *, field: str | None) -> QuerySet[Profile]:
    """Who holds an identifier, given as `type:value`."""
    type, colon, value = text.partition(":")
    if field and not (type and colon and value):
        raise invalid("Must be the type and the value of an identifier, such as email:ada@example.com.", field)
    return queries.holders(request.space, type, value)


def _words(request: ApiRequest, name: str) -> list[str]:
    return [word for word in request.query_params.get(name, "").split(",") if word]


def _include(request: ApiRequest) -> list[str]:
    asked = _words(request, "include")
    if set(asked) - {"identifiers", "traits"}:
        raise invalid("Must be identifiers, traits, or both.", "include")
    return asked


def _which(request: ApiRequest) -> Which:
    return Which(
        include=_words(request, "include"),
        exclude=_words(request, "exclude"),
        start=_asked_moment(request, "start"),
        end=_asked_moment(request, "end"),
    )


def _asked_moment(request: ApiRequest, name: str) -> datetime | None:
    if not (asked := request.query_params.get(name)):
        return None
    try:
        at = datetime.fromisoformat(asked)
    except ValueError as error:
        raise invalid("Must be a moment such as 2026-06-15T12:00:00Z.", name) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _place(text: str, parts: int) -> tuple[int, ...]:
    """A place in a list from its cursor. Raises ValueError."""
    found = text.split(".")
    if len(found) != parts or not all(re.fullmatch(r"-?[0-9]{1,13}", each) for each in found):
        raise ValueError(text)
    return tuple(map(int, found))
