"""Audiences by REST: what they say, who is in them, who came and went."""

import logging
from datetime import datetime
from typing import Any

from pyroaring import BitMap
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api import moment
from access.envelope import TYPES, ApiError, conflict, data, done, invalid, missing, page, parsed
from access.requests import ApiRequest
from access.services import NotPossible
from audiences import overview, queries, services
from audiences.conditions import KINDS
from audiences.models import Audience, Change
from audiences.overview import Member, Overview, Problem
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.conditions import Condition
from audiences.rules.grammar import DEEPEST, GROUPS, MOST_CONDITIONS
from audiences.rules.operators import OPERATORS, Operator
from audiences.rules.validation import LONGEST_NAME, DefinitionError
from audiences.rules.windows import UNITS
from audiences.services import KeyRefused
from identity.pages.presenters import Person
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

MOST_CHANGES = 100  # per page
MOST_NAMED = 100  # people of one side of a change
INCLUDED = "identifiers"
TOO_HEAVY = "This takes more time or memory than one question may. Ask about a shorter time, or with fewer conditions."
NOT_NOW = "This cannot be worked out just now. Try again in a moment."

logger = logging.getLogger(__name__)


class AudienceBody(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=255)
    definition = serializers.JSONField()
    description = serializers.CharField(max_length=10_000, allow_blank=True, default="")
    includeAnonymous = serializers.BooleanField(default=False)
    includeHistoricalData = serializers.BooleanField(default=True)
    key = serializers.CharField(max_length=LONGEST_NAME, required=False)


class AudienceChanges(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=255, required=False)
    description = serializers.CharField(max_length=10_000, allow_blank=True, required=False)
    enabled = serializers.BooleanField(required=False)
    definition = serializers.JSONField(required=False)


class PreviewBody(serializers.Serializer[Any]):
    definition = serializers.JSONField()
    includeAnonymous = serializers.BooleanField(default=False)
    includeHistoricalData = serializers.BooleanField(default=True)
    sampleSize = serializers.IntegerField(min_value=0, max_value=50, default=10)


@needs("space.read", POST="space.use")
class AudiencesView(APIView):
    takes = {"POST": AudienceBody}

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's audiences, oldest first."""
        at, neighbours = overview.as_of(request.space), overview.Neighbours(request.space.pk)

        def render(audience: Audience) -> dict[str, Any]:
            return render_audience(overview.overview(audience, neighbours), at)

        return page(request, overview.audiences_of(request.space), name="audiences", render=render)

    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new audience. It is computed at once, and kept up to date as events arrive and as time passes."""
        body = parsed(AudienceBody, request)
        include_anonymous = body.pop("includeAnonymous")
        since = None if body.pop("includeHistoricalData") else clock.now()
        try:
            made = services.create_audience(
                request.space, include_anonymous=include_anonymous, events_since=since, by=request, **body
            )
        except DefinitionError as error:
            raise wrong(error) from error
        except KeyRefused as error:
            raise invalid(str(error), "key") from error
        return _shown(request, made, 201)


@needs("space.read", PATCH="space.use", DELETE="space.use")
class AudienceView(APIView):
    takes = {"PATCH": AudienceChanges}

    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """`status` is that of the audience, `error` that of its newest definition, which may not serve yet."""
        return _shown(request, _audience(request, audience_id))

    def patch(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """What is given changes. After a new definition the old one serves until the new one is computed."""
        audience = _audience(request, audience_id)
        try:
            services.change_audience(audience, by=request, **parsed(AudienceChanges, request))
        except DefinitionError as error:
            raise wrong(error) from error
        except NotPossible as error:
            raise conflict(str(error)) from error
        return _shown(request, audience)

    def delete(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """It is gone, unless another audience asks about it. Who is in a tool by it stays there."""
        try:
            services.delete_audience(_audience(request, audience_id), now=clock.now(), by=request)
        except NotPossible as error:
            raise conflict(str(error)) from error
        return done()


@needs("space.read")
@lane(QUERIES)
class PreviewView(APIView):
    takes = {"POST": PreviewBody}

    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Who would be in it now: exactly how many, and some of them. Changes nothing."""
        body, now = parsed(PreviewBody, request), clock.now()
        try:
            found = services.preview(
                request.space,
                body["definition"],
                include_anonymous=body["includeAnonymous"],
                events_since=None if body["includeHistoricalData"] else now,
                now=now,
            )
        except DefinitionError as error:
            raise wrong(error) from error
        except NotComputed as error:
            raise conflict(str(error)) from error
        except Unanswerable as error:
            logger.warning("a preview in %s: %s", space_id, error)
            if error.passes and not error.limit:
                raise ApiError(503, TYPES[503], NOT_NOW) from error
            raise invalid(TOO_HEAVY if error.limit else str(error), "definition") from error
        people = overview.sample(request.space, found.members, body["sampleSize"])
        return data(preview=render_preview(found) | {"sample": [render_person(person) for person in people]})


@needs("space.read")
@lane(QUERIES)
class MembersView(APIView):
    asks = {"include": "`identifiers`: also by which ids each is known"}

    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Who is in it as of `asOf`, if it is `computed`: before its first computation nobody is known to be.

        `tick` is the same on all pages unless somebody entered or left in between.
        """
        audience = _audience(request, audience_id)
        seen = overview.overview(audience)
        standing = overview.standing(audience)
        return _people(
            request,
            standing.members,
            name="members",
            status=seen.status,
            computed=seen.computed,
            tick=standing.tick,
            asOf=moment(standing.as_of) if seen.computed else None,
        )


@needs("space.read")
@lane(QUERIES)
class ChangesView(APIView):
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Who entered and left, newest first, and why: events, the clock, a computation, or the end of a replay.

        `count` is exact; of each side the first 100 are named. All of them: by the `id` of the change.
        """
        changes = Change.objects.filter(audience=_audience(request, audience_id)).select_related("space")
        return page(request, changes, name="changes", render=render_change, order="-id", most=MOST_CHANGES)


@needs("space.read")
class MovedView(APIView):
    asks = {"include": "`identifiers`: also by which ids each is known"}
    side = "entered"  # | left

    def get(self, request: ApiRequest, space_id: str, audience_id: str, change_id: str) -> Response:
        """All people of one side of one change, by the ids that they have now."""
        tick, _, cause = change_id.partition("-")
        if not tick.isascii() or not tick.isdecimal() or len(tick) > 18:
            raise missing()
        change = Change.objects.filter(audience=_audience(request, audience_id), tick=int(tick), cause=cause).first()
        if change is None:
            raise missing()
        return _people(request, queries.bitmap(getattr(change, self.side)), name="people")


@needs("space.read")
class ConditionKindsView(APIView):
    paged = False

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What a definition may consist of: kinds of conditions, groups, operators, units of time, and limits."""
        return data(
            conditionKinds=[render_kind(kind) for kind in KINDS.values()],
            groups=[*GROUPS, "not"],
            operators=[render_operator(operator) for operator in OPERATORS.values()],
            windows=[*UNITS],
            limits={"conditions": MOST_CONDITIONS, "depth": DEEPEST},
        )


def wrong(error: DefinitionError) -> ApiError:
    """The error of a definition at its place in the body: `definition.all[1].within`."""
    return invalid(error.message, f"definition.{error.path}" if error.path else "definition")


def render_audience(found: Overview, as_of: datetime | None) -> dict[str, Any]:
    """as_of: the moment that the space's audiences are as of."""
    audience = found.audience
    return {
        "id": audience.public_id,
        "key": audience.key,
        "name": audience.name,
        "description": audience.description,
        "sentence": found.sentence,
        "definition": found.version.definition,
        "includeAnonymous": audience.include_anonymous,
        "includeHistoricalData": audience.events_since is None,
        "enabled": audience.enabled,
        "status": found.status,
        "updating": found.updating,
        "error": found.version.error,
        "problem": render_problem(found.problem),
        "size": {"count": audience.size},
        "asOf": moment(found.exact_at or as_of),
        "version": found.version.number,
        "createdBy": audience.created_by and audience.created_by.public_id,
        "createdAt": moment(audience.created_at),
        "updatedAt": moment(audience.updated_at),
    }


def render_problem(found: Problem | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"reason": found.reason, "since": moment(found.since), "retryAt": moment(found.retry_at)}


def render_preview(found: services.Preview) -> dict[str, Any]:
    return {
        "size": len(found.members),
        "asOf": moment(found.as_of),
        "sentence": found.sentence,
        "milliseconds": round(found.milliseconds, 1),
    }


def render_person(person: Person) -> dict[str, Any]:
    return {
        "profileId": person.profile.public_id,
        "name": person.name,
        "identifiers": [{"type": each.type, "value": each.value} for each in person.identifiers],
    }


def render_member(member: Member, included: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"profileId": member.profile_id}
    if included:
        shown[INCLUDED] = [{"type": type, "value": value} for type, value in member.identifiers]
    return shown


def render_change(change: Change) -> dict[str, Any]:
    return {
        "id": f"{change.tick}-{change.cause}",
        "tick": change.tick,
        "at": moment(change.at),
        "cause": change.cause,
        "entered": _render_side(change, change.entered),
        "left": _render_side(change, change.left),
        "size": {"count": change.size},
    }


def render_kind(kind: type[Condition]) -> dict[str, Any]:
    fields = [{"name": name, "label": label} for name, label in kind.fields.items()]
    return {"kind": kind.kind, "label": kind.label, "fields": fields}


def render_operator(operator: Operator) -> dict[str, Any]:
    return {"name": operator.name, "label": operator.label, "value": operator.takes}


def _render_side(change: Change, kept: bytes | memoryview) -> dict[str, Any]:
    moved = overview.moved(change.space, kept, MOST_NAMED)
    return {"count": moved.count, "profileIds": moved.profile_ids}


def _people(request: ApiRequest, numbers: BitMap, *, name: str, **extra: Any) -> Response:
    included = _included(request)
    people = overview.Members(request.space, numbers, with_identifiers=included)
    return page(request, people, name=name, render=lambda member: render_member(member, included), **extra)


def _shown(request: ApiRequest, audience: Audience, status: int = 200) -> Response:
    fresh = overview.audiences_of(request.space).get(pk=audience.pk)
    return data(status, audience=render_audience(overview.overview(fresh), overview.as_of(request.space)))


def _audience(request: ApiRequest, public_id: str) -> Audience:
    found = overview.audiences_of(request.space).filter(public_id=public_id).first()
    if found is None:
        raise missing()
    return found


def _included(request: ApiRequest) -> bool:
    """Whether identifiers are wanted."""
    asked = request.query_params.get("include", "")
    if asked not in ("", INCLUDED):
        raise invalid(f"Only {INCLUDED} can be included.", "include")
    return bool(asked)
