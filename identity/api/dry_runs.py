"""Trying other identity rules, and applying them to the people who are there, by REST."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Envelope, MomentField, answer
from access.requests import ApiRequest
from identity import dry_run_reads, services
from identity.api.serializers import RULES, ChangeRules, IdentifierSerializer, RulesField, policy_in
from identity.dry_run_reads import SampledChange
from identity.models import DryRun
from identity.rules.policy import policy_of
from spaces.needs import needs


class AudienceSizeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(initial="aud_2qKf0")
    name = serializers.CharField(initial="Buyers")
    before = serializers.IntegerField(initial=1200)
    after = serializers.IntegerField(allow_null=True, help_text="null = it was not worked out.", initial=1187)
    why = serializers.CharField(allow_null=True, help_text="Why it was not worked out.", initial=None)


class RulesFiguresSerializer(serializers.Serializer[Any]):
    before = serializers.IntegerField(help_text="People today.", initial=1000)
    after = serializers.IntegerField(help_text="People that there would be.", initial=1012)
    unchanged = serializers.IntegerField(
        help_text="Who keep their identifiers and events, and get no others.", initial=980
    )
    merged = serializers.IntegerField(
        help_text="Of today's people: who would be one person with another of them.", initial=4
    )
    split = serializers.IntegerField(
        help_text="Of today's people: whose identifiers would be several people's.", initial=14
    )
    gone = serializers.IntegerField(help_text="Of today's people: who would have no identifier left.", initial=1)
    new = serializers.IntegerField(help_text="People of whom nobody has an identifier today.", initial=0)
    nobodys = serializers.IntegerField(
        help_text="Events that would be nobody's: they become rejects of the space.", initial=3
    )
    toMove = serializers.IntegerField(
        help_text="People who are resolved once more when the rules are applied.", initial=21
    )
    whyNot = serializers.CharField(
        source="why_not", allow_null=True, help_text="Why these cannot be applied in parts.", initial=None
    )
    audiences = AudienceSizeSerializer(many=True)


class SampledProfileSerializer(serializers.Serializer[Any]):
    profileIds = serializers.ListField(
        child=serializers.CharField(),
        source="of",
        help_text="Those of today's that it has identifiers of.",
        initial=["use_2qKf0"],
    )
    identifiers = IdentifierSerializer(many=True)
    more = serializers.IntegerField(help_text="Identifiers that are not named.", initial=0)


class SampledChangeSerializer(serializers.Serializer[Any]):
    now = SampledProfileSerializer(many=True)
    after = SampledProfileSerializer(many=True)
    moreNow = serializers.IntegerField(source="more_now", help_text="Profiles that are not shown.", initial=0)
    moreAfter = serializers.IntegerField(source="more_after", help_text="Profiles that are not shown.", initial=0)


class LargeProfileSerializer(serializers.Serializer[Any]):
    profileIds = serializers.ListField(
        child=serializers.CharField(),
        source="of",
        help_text="The first of today's profiles that it is made of.",
        initial=["use_2qKf0"],
    )
    profiles = serializers.IntegerField(help_text="How many these are.", initial=1)
    identifiers = serializers.IntegerField(initial=40)
    events = serializers.IntegerField(initial=3000)


class DryRunSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="dry_2qKf0")
    state = serializers.ChoiceField(choices=DryRun.State.values, initial="done")
    error = serializers.SerializerMethodField(help_text="Why it failed, or stopped; null = it did not.", initial=None)
    percent = serializers.SerializerMethodField(help_text="Of what is under way.", initial=100)
    changes = serializers.SerializerMethodField(
        help_text="What the rules change, in words.", initial=["email: the limit is 2 ever instead of 5 ever."]
    )
    identityRules = serializers.SerializerMethodField(help_text="The rules that are tried.", initial=RULES)
    figures = serializers.SerializerMethodField(help_text="null = it is not worked out yet.")
    createdBy = serializers.CharField(source="created_by.public_id", default=None, allow_null=True, initial="usr_2qKf0")
    createdAt = MomentField(source="created_at")
    asOf = MomentField(source="as_of", allow_null=True, help_text="The moment whose people were looked at.")
    finishedAt = MomentField(source="finished_at", allow_null=True)

    def get_error(self, dry_run: DryRun) -> str | None:
        return dry_run.error or None

    def get_percent(self, dry_run: DryRun) -> int:
        return dry_run_reads.percent(dry_run)

    def get_changes(self, dry_run: DryRun) -> list[str]:
        return dry_run_reads.changes_of(dry_run)

    @extend_schema_field(RulesField())
    def get_identityRules(self, dry_run: DryRun) -> dict[str, Any]:
        return policy_of(dry_run.policy).to_json()

    @extend_schema_field(RulesFiguresSerializer(allow_null=True))
    def get_figures(self, dry_run: DryRun) -> dict[str, Any] | None:
        kept = dry_run.result
        if not kept:
            return None
        # There are no audiences where sizes were not asked for.
        plain = kept | {"why_not": kept["whyNot"] or None, "audiences": kept.get("audiences", [])}
        return dict(RulesFiguresSerializer(plain).data)


class DryRunAnswer(Envelope):
    dryRun = DryRunSerializer()


class DryRunDetailsAnswer(Envelope):
    dryRun = DryRunSerializer()
    samples = SampledChangeSerializer(many=True, help_text="Some of the people who would be others.")
    largest = LargeProfileSerializer(many=True, help_text="The profiles that would have most identifiers.")


@needs("space.read", POST="space.admin")
class DryRunsView(PagedView):
    pagination_class = Pages.of("dryRuns", order="-id")

    @extend_schema(operation_id="list_dry_runs", responses=DryRunSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """Which rules were tried in the last week, the newest first."""
        # With who made it: else each line of the list would ask for its own.
        rows = DryRun.objects.filter(space=request.space).select_related("created_by")
        return self.paged(rows, DryRunSerializer)

    @extend_schema(operation_id="try_identity_rules", request=ChangeRules, responses={202: DryRunAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """What other rules would come to is worked out: nothing of the space changes. null = the default ones."""
        dry_run = services.try_rules(request.space, policy_in(parsed(ChangeRules, request)), by=request)
        return answer(DryRunAnswer, 202, dryRun=dry_run)


@needs("space.read", DELETE="space.admin")
class DryRunView(APIView):
    @extend_schema(operation_id="get_dry_run", responses=DryRunDetailsAnswer)
    def get(self, request: ApiRequest, space_id: str, dry_run_id: str) -> Response:
        """How far it is, and what it has come to."""
        dry_run = _dry_run(request, dry_run_id)
        samples: list[SampledChange] = dry_run_reads.samples_of(dry_run)
        return answer(DryRunDetailsAnswer, dryRun=dry_run, samples=samples, largest=dry_run_reads.largest_of(dry_run))

    @extend_schema(operation_id="stop_dry_run", responses={202: DryRunAnswer})
    def delete(self, request: ApiRequest, space_id: str, dry_run_id: str) -> Response:
        """It is not worked out any more; of rules that are being applied, the rest of the people stay as they are."""
        dry_run = _dry_run(request, dry_run_id)
        services.stop_dry_run(dry_run, by=request)
        return answer(DryRunAnswer, 202, dryRun=dry_run)


@needs("space.admin")
class ApplyDryRunView(APIView):
    @extend_schema(operation_id="apply_identity_rules", request=None, responses={202: DryRunAnswer})
    def post(self, request: ApiRequest, space_id: str, dry_run_id: str) -> Response:
        """The space has these rules, and whoever would be others by them is resolved once more, in the background.

        One that stopped goes on. Audiences and destinations follow, and are told of the difference alone.
        """
        dry_run = _dry_run(request, dry_run_id)
        services.apply_rules(dry_run, by=request)
        return answer(DryRunAnswer, 202, dryRun=dry_run)


def _dry_run(request: ApiRequest, public_id: str) -> DryRun:
    dry_run: DryRun = get_object_or_404(DryRun, space=request.space, public_id=public_id)
    return dry_run
