"""Syncs of profiles by REST."""

from drf_spectacular.utils import extend_schema
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, Success, answer, done
from access.errors import settings_inside
from access.requests import ApiRequest
from profiles_sync import services
from profiles_sync.api.serializers import (
    ChangeProfilesSync,
    CreateProfilesSync,
    ProfilesSyncAnswer,
    ProfilesSyncSerializer,
    ProfilesSyncTestAnswer,
    RunProfilesSync,
    SyncRunSerializer,
)
from profiles_sync.models import ProfilesSync
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs


@needs("space.read", POST="space.admin")
class ProfilesSyncsView(PagedView):
    pagination_class = Pages.of("profilesSyncs")

    @extend_schema(operation_id="list_profiles_syncs", responses=ProfilesSyncSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's syncs, oldest first. Passwords and keys are masked."""
        return self.paged(request.space.profiles_syncs.all(), ProfilesSyncSerializer)

    @extend_schema(operation_id="create_profiles_sync", request=CreateProfilesSync, responses={201: ProfilesSyncAnswer})
    @settings_inside("settings")
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new sync. Its first run, which tells everything, begins at once."""
        body = parsed(CreateProfilesSync, request)
        sync = services.create_sync(request.space, **body, clock=clock, by=request)
        return answer(ProfilesSyncAnswer, 201, profilesSync=sync)


@needs("space.read", PATCH="space.admin", DELETE="space.admin")
class ProfilesSyncView(APIView):
    @extend_schema(operation_id="get_profiles_sync", responses=ProfilesSyncAnswer)
    def get(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """Where it goes, when, and what of the space."""
        return answer(ProfilesSyncAnswer, profilesSync=_sync(request, profiles_sync_id))

    @extend_schema(operation_id="change_profiles_sync", request=ChangeProfilesSync, responses=ProfilesSyncAnswer)
    @settings_inside("settings")
    def patch(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """What is given changes. Switched off, the run under way is cancelled."""
        sync = _sync(request, profiles_sync_id)
        services.change_sync(sync, **parsed(ChangeProfilesSync, request), clock=clock, by=request)
        return answer(ProfilesSyncAnswer, profilesSync=sync)

    @extend_schema(operation_id="delete_profiles_sync", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """It is gone. What is in the warehouse stays there."""
        services.delete_sync(_sync(request, profiles_sync_id), by=request)
        return done()


@needs("space.admin")
@lane(CALLS)
class ProfilesSyncTestView(APIView):
    @extend_schema(operation_id="check_profiles_sync", request=None, responses=ProfilesSyncTestAnswer)
    def post(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """Whether the warehouse can be written to."""
        # Why not, in the warehouse's own words: who sets it up can do more with them than with ours.
        why = services.test_sync(_sync(request, profiles_sync_id))
        return answer(ProfilesSyncTestAnswer, test={"ok": not why, "message": why})


@needs("space.admin")
class ProfilesSyncRunView(APIView):
    @extend_schema(
        operation_id="run_profiles_sync", request=RunProfilesSync, responses={200: ProfilesSyncAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """A run begins within seconds, or the one under way goes on."""
        sync = _sync(request, profiles_sync_id)
        services.run_now(sync, **parsed(RunProfilesSync, request), clock=clock, by=request)
        return answer(ProfilesSyncAnswer, profilesSync=sync)


@needs("space.admin")
class ProfilesSyncCancelView(APIView):
    @extend_schema(operation_id="cancel_profiles_sync", request=None, responses={200: Success, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """The run under way ends. The next one goes on from where it was."""
        services.cancel_run(_sync(request, profiles_sync_id), clock=clock, by=request)
        return done()


@needs("space.read")
class SyncRunsView(PagedView):
    pagination_class = Pages.of("runs", order="-id")

    @extend_schema(operation_id="list_profiles_sync_runs", responses=SyncRunSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, profiles_sync_id: str) -> Response:
        """Its runs, newest first."""
        return self.paged(_sync(request, profiles_sync_id).runs.all(), SyncRunSerializer)


def _sync(request: ApiRequest, public_id: str) -> ProfilesSync:
    return get_object_or_404(request.space.profiles_syncs, public_id=public_id)
