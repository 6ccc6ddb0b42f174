"""Splitting a profile, and undoing that, by REST."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Envelope, MomentField, TextOrNull, answer
from access.errors import invalid
from access.requests import ApiRequest
from identity import queries, services
from identity.api.serializers import IdentifierSerializer, TraitsField
from identity.models import Profile, ProfileSplit
from identity.rules.policy import Identifier
from identity.rules.splits import SplitPart
from identity.split_effects import AudienceEffect, EffectsReader, no_effects
from spaces.clock import clock
from spaces.needs import needs

MOST_TAKEN = 1_000


class SplitSerializer(serializers.Serializer[Any]):
    # Context: `ids`, public ids of profiles by number.

    id = serializers.CharField(source="public_id", initial="spl_2qKf0")
    profileId = serializers.SerializerMethodField(
        help_text="Who had all of these identifiers, as it is now.", initial="use_2qKf0"
    )
    state = serializers.ChoiceField(choices=ProfileSplit.State.values, initial="done")
    error = TextOrNull(help_text="Why it failed; null = it did not.", initial=None)
    taken = IdentifierSerializer(
        many=True,
        help_text="None of these may be in one profile …",
        initial=[{"type": "anonymous_id", "value": "a-17"}],
    )
    left = IdentifierSerializer(many=True, help_text="… with any of these.")
    movedTo = serializers.SerializerMethodField(
        help_text="With this one they are in one; null = they were not moved.", initial=None
    )
    createdBy = serializers.CharField(source="created_by.public_id", default=None, allow_null=True, initial="usr_2qKf0")
    createdAt = MomentField(source="created_at")
    doneAt = MomentField(source="done_at", allow_null=True, help_text="When its newest wish came true, or failed.")

    def get_profileId(self, split: ProfileSplit) -> str:
        return str(self.context["ids"][split.profile])

    @extend_schema_field(IdentifierSerializer(allow_null=True))
    def get_movedTo(self, split: ProfileSplit) -> Any:
        return IdentifierSerializer(split.moved_to[0]).data if split.moved_to else None


class PartSerializer(serializers.Serializer[Any]):
    # Context: `ids`.

    profileId = serializers.SerializerMethodField(help_text="null = it would be new.", initial=None)
    identifiers = IdentifierSerializer(many=True)
    traits = TraitsField(source="values", initial={"plan": "pro"})
    events = serializers.IntegerField(initial=3)

    def get_profileId(self, part: SplitPart) -> str | None:
        return None if part.is_new else str(self.context["ids"][part.number])


class GivenIdentifierSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(max_length=60, initial="anonymous_id")
    value = serializers.CharField(max_length=500, trim_whitespace=False, initial="a-17")


class ToldSerializer(serializers.Serializer[Any]):
    subscriptionId = serializers.CharField(source="id", initial="sub_2qKf0")
    destination = serializers.CharField(help_text="The name of where it goes.", initial="Braze")
    enter = IdentifierSerializer(many=True, help_text="Identifiers that it would be told enter …")
    leave = IdentifierSerializer(many=True, help_text="… and that leave.")
    why = TextOrNull(help_text="Why that is not worked out; null = it is.", initial=None)


class AudienceEffectSerializer(serializers.Serializer[Any]):
    # Context: `ids`, and `places`, of the profiles that there would be by number.

    audienceId = serializers.CharField(source="id", initial="aud_2qKf0")
    name = serializers.CharField(initial="Buyers")
    now = serializers.SerializerMethodField(help_text="Ids of those of them who are in it now.", initial=["use_2qKf0"])
    after = serializers.SerializerMethodField(
        help_text="Places in `profiles`, from 0, of those who would be.", initial=[1]
    )
    why = TextOrNull(help_text="Why that is not worked out; null = it is.", initial=None)
    destinations = ToldSerializer(source="told", many=True, help_text="Those that would be told something.")

    def get_now(self, effect: AudienceEffect) -> list[str]:
        return [self.context["ids"][number] for number in effect.now]

    def get_after(self, effect: AudienceEffect) -> list[int]:
        return [self.context["places"][number] for number in effect.after]


class SplitProfile(serializers.Serializer[Any]):
    profileId = serializers.CharField(max_length=64, initial="use_2qKf0")
    identifiers = serializers.ListField(
        child=GivenIdentifierSerializer(),
        max_length=MOST_TAKEN,
        required=False,
        help_text="Those of its identifiers that are somebody else's.",
        initial=[{"type": "anonymous_id", "value": "a-17"}],
    )
    mergedId = serializers.CharField(
        max_length=64, required=False, help_text="Instead: what came with this profile when it was merged into it."
    )
    toId = serializers.CharField(
        max_length=64, required=False, help_text="The profile to which they are moved; else whosever the rules say."
    )


class SplitAnswer(Envelope):
    split = SplitSerializer()


class SplitPreviewAnswer(Envelope):
    profiles = PartSerializer(many=True, help_text="Those that there would be, the oldest first.")
    audiences = AudienceEffectSerializer(
        many=True, allow_null=True, help_text="Those that have any of them, or would; null = they have too many events."
    )


@needs("space.read", POST="space.admin")
class SplitsView(PagedView):
    pagination_class = Pages.of("splits", order="-id")

    @extend_schema(operation_id="list_splits", responses=SplitSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """Which identifiers were split, the newest first."""
        rows = ProfileSplit.objects.filter(space=request.space).select_related("created_by")
        # By hand, since the ids of all profiles of a page are looked up at once.
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(SplitSerializer(page, many=True, context=_ids(request, page)).data)

    @extend_schema(operation_id="split_profile", request=SplitProfile, responses={202: SplitAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Some identifiers of a profile are somebody else's: everything becomes as if they had never been linked.

        Within seconds its events are resolved once more; profiles, traits, audiences and destinations follow. What
        comes later does not link them again. With `toId` they are that profile's from now on, as far as the rules of
        the space allow it. DELETE undoes either.
        """
        profile, taken, to = _asked(request)
        split = services.split(profile, taken, to=to, by=request)
        return answer(SplitAnswer, 202, split=split, context=_ids(request, [split]))


@needs("space.read")
class SplitPreviewView(APIView):
    """effects: works out what audiences and destinations would make of it; handed over in `personas_site.urls`."""

    effects: EffectsReader = staticmethod(no_effects)

    @extend_schema(operation_id="preview_split", request=SplitProfile, responses=SplitPreviewAnswer)
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """What a split would come to, of this moment. Changes nothing."""
        profile, taken, to = _asked(request)
        again = services.resolve_with(profile, taken, to)
        context = {
            "ids": queries.own_ids(request.space, again.component.numbers),
            "places": {part.number: place for place, part in enumerate(again.parts)},
        }
        effects = self.effects(again, clock.now())
        return answer(SplitPreviewAnswer, profiles=again.parts, audiences=effects, context=context)


@needs("space.read", DELETE="space.admin")
class SplitView(APIView):
    @extend_schema(operation_id="get_split", responses=SplitAnswer)
    def get(self, request: ApiRequest, space_id: str, split_id: str) -> Response:
        """One split, and how far it is."""
        split = get_object_or_404(ProfileSplit, space=request.space, public_id=split_id)
        return answer(SplitAnswer, split=split, context=_ids(request, [split]))

    @extend_schema(operation_id="undo_split", responses={202: SplitAnswer})
    def delete(self, request: ApiRequest, space_id: str, split_id: str) -> Response:
        """Both sides may be one person again: within seconds their events are resolved once more, without the split."""
        split = get_object_or_404(ProfileSplit, space=request.space, public_id=split_id)
        services.undo_split(split, by=request)
        return answer(SplitAnswer, 202, split=split, context=_ids(request, [split]))


def _ids(request: ApiRequest, rows: Sequence[ProfileSplit]) -> dict[str, Any]:
    return {"ids": queries.public_ids(request.space, {split.profile for split in rows})}


def _asked(request: ApiRequest) -> tuple[Profile, list[Identifier], Profile | None]:
    """The profile, which of its identifiers are somebody else's, and whose, if that was said."""
    body = parsed(SplitProfile, request)
    profile = queries.profile_of(request.space, body["profileId"])
    if profile is None:
        raise invalid("There is no such profile.", "profileId")
    if ("identifiers" in body) == ("mergedId" in body):
        raise invalid("Give either the identifiers or the id of a merged profile.", "identifiers")
    to = queries.profile_of(request.space, body["toId"]) if "toId" in body else None
    if "toId" in body and to is None:
        raise invalid("There is no such profile.", "toId")
    if "identifiers" in body:
        # As they are sent: whoever may not see values cannot name them, and has to ask somebody who may.
        return profile, [(row["type"], row["value"]) for row in body["identifiers"]], to
    merged = Profile.objects.filter(space=request.space, merged_into=profile.number, public_id=body["mergedId"]).first()
    if merged is None:
        raise invalid("No such profile was merged into it.", "mergedId")
    return profile, services.came_with(profile, merged), to
