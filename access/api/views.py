"""The workspace, its spaces, its people and their tokens by REST."""

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access import queries, services
from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import (
    AuditEntrySerializer,
    ChangeSpace,
    CreateInvites,
    CreateProfileToken,
    CreateSpace,
    CreateToken,
    DeletionSerializer,
    Errors,
    InvitesAnswer,
    InviteSerializer,
    ProfileTokenAnswer,
    ProfileTokenSerializer,
    SpaceAnswer,
    SpaceSerializer,
    Success,
    TokenAnswer,
    TokenSerializer,
    UserSerializer,
    WorkspaceAnswer,
    answer,
    done,
)
from access.errors import invalid
from access.models import Invitation
from access.requests import ApiRequest, origin_of
from access.services import Invited, NotPossible
from spaces.models import Deletion, Space
from spaces.needs import ANYONE, needs


@needs("workspace.read")
class WorkspaceView(APIView):
    @extend_schema(operation_id="get_workspace", responses=WorkspaceAnswer)
    def get(self, request: ApiRequest) -> Response:
        """The workspace that the token belongs to, and who you are in it."""
        return answer(WorkspaceAnswer, workspace=request.workspace, you=request.membership)


@needs("workspace.read", POST="workspace.manage")
class SpacesView(PagedView):
    pagination_class = Pages.of("spaces")

    @extend_schema(operation_id="list_spaces", responses=SpaceSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """The spaces you can see, oldest first."""
        return self.paged(services.spaces_of(request.membership), SpaceSerializer)

    @extend_schema(operation_id="create_space", request=CreateSpace, responses={201: SpaceAnswer})
    def post(self, request: ApiRequest) -> Response:
        """A new space, for trying out (`dev`) or for real (`prod`). Its slug never changes."""
        space = services.create_space(request.workspace, **parsed(CreateSpace, request), by=request)
        return answer(SpaceAnswer, 201, space=space)


@needs("space.read", PATCH="space.admin", DELETE="workspace.manage")
class SpaceView(APIView):
    @extend_schema(operation_id="get_space", responses=SpaceAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """One space."""
        return answer(SpaceAnswer, space=request.space)

    @extend_schema(operation_id="change_space", request=ChangeSpace, responses=SpaceAnswer)
    def patch(self, request: ApiRequest, space_id: str) -> Response:
        """Rename it, or make a Dev space a Prod space and back."""
        changes = parsed(ChangeSpace, request)
        return answer(SpaceAnswer, space=services.change_space(request.space, by=request, **changes))

    @extend_schema(operation_id="delete_space", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str) -> Response:
        """The space, its profiles, audiences and destinations are out of sight, and are erased (see `/deletions`).

        Sources and their archive stay.
        """
        services.delete_space(request.space, by=request)  # out of sight; it is erased by a job
        return done()


@needs("workspace.manage")
class AuditView(PagedView):
    pagination_class = Pages.of("entries", order="-id")

    @extend_schema(operation_id="list_audit_entries", responses=AuditEntrySerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Who changed what, signed in or took data out, newest first. For owners."""
        return self.paged(queries.audit_trail(request.workspace), AuditEntrySerializer)


@needs("workspace.manage")
class InvitesView(PagedView):
    pagination_class = Pages.of("invites")

    @extend_schema(operation_id="list_invites", responses=InviteSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Invitations that were not accepted yet. For owners."""
        return self.paged(queries.pending(request.workspace), InviteSerializer)

    @extend_schema(operation_id="create_invites", request=CreateInvites, responses={201: InvitesAnswer})
    def post(self, request: ApiRequest) -> Response:
        """Invite several people at once, each with roles in spaces. All are invited, or none."""
        spaces = {space.public_id: space for space in Space.objects.filter(workspace=request.workspace)}
        people = []
        for number, row in enumerate(parsed(CreateInvites, request)["invites"]):
            for place, given in enumerate(row["grants"]):
                # Of this workspace alone: an id of another tenant's is as unknown as one that nobody has.
                if given["spaceId"] not in spaces:
                    raise invalid("There is no such space.", f"invites[{number}].grants[{place}].spaceId")
            grants = [(spaces[given["spaceId"]], given["role"]) for given in row["grants"]]
            personal = [spaces[given["spaceId"]] for given in row["grants"] if given["personalData"]]
            people.append(Invited(row["email"], row["role"], grants, personal))
        try:
            invited = services.invite(request.workspace, people, by=request, origin=origin_of(request))
        except NotPossible as error:
            raise invalid(str(error), "invites") from error
        return answer(InvitesAnswer, 201, invites=invited)


@needs("workspace.manage")
class InviteView(APIView):
    @extend_schema(operation_id="revoke_invite", responses={200: Success, 409: Errors})
    def delete(self, request: ApiRequest, invite_id: str) -> Response:
        """The link in the mail no longer works."""
        invitation = get_object_or_404(Invitation, workspace=request.workspace, public_id=invite_id)
        services.revoke_invitation(invitation, by=request)
        return done()


@needs("workspace.manage")
class DeletionsView(PagedView):
    pagination_class = Pages.of("deletions", order="-id")

    @extend_schema(operation_id="list_deletions", responses=DeletionSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """What was deleted, newest first, and how far the erasing of it is: rows by table, verified before `done`."""
        return self.paged(Deletion.objects.filter(workspace=request.workspace), DeletionSerializer)


@needs("workspace.read")
class UsersView(PagedView):
    pagination_class = Pages.of("users")

    @extend_schema(operation_id="list_users", responses=UserSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """The people of the workspace, with their roles; only yourself, unless you are an owner."""
        # A member who is no owner learns nothing of who else is here, as on the page.
        rows = queries.members(request.workspace)
        if not request.membership.may("workspace.manage"):
            rows = rows.filter(pk=request.membership.pk)
        context = {"grants": queries.grants_by_user(request.workspace)}
        return self.paged(rows, UserSerializer, context=context)


@needs("workspace.read")
class TokensView(PagedView):
    pagination_class = Pages.of("tokens")

    @extend_schema(operation_id="list_tokens", responses=TokenSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """Your tokens; for an owner, everybody's. Never their secrets."""
        return self.paged(services.tokens_of(request.membership), TokenSerializer)

    @extend_schema(operation_id="create_token", request=CreateToken, responses={201: TokenAnswer})
    def post(self, request: ApiRequest) -> Response:
        """A new token that acts for you in this workspace. Its secret is shown in this answer and never again."""
        # For whoever asks, and for nobody else: an owner who could make tokens of others could act as them.
        name = parsed(CreateToken, request)["name"]
        token, secret = services.create_token(request.workspace, request.user, name=name, by=request)
        return answer(TokenAnswer, 201, token=token, context={"secret": secret})


@needs("workspace.read")
class TokenView(APIView):
    @extend_schema(operation_id="revoke_token", responses={200: Success})
    def delete(self, request: ApiRequest, token_id: str) -> Response:
        """Whoever uses it is a stranger from now on."""
        token = get_object_or_404(services.tokens_of(request.membership), public_id=token_id)
        services.revoke_token(token, by=request)
        return done()


@needs("space.admin")
class ProfileTokensView(PagedView):
    pagination_class = Pages.of("tokens")

    @extend_schema(operation_id="list_profile_tokens", responses=ProfileTokenSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The tokens of the space's Profile API. Never their secrets."""
        return self.paged(services.profile_tokens_of(request.space), ProfileTokenSerializer)

    @extend_schema(operation_id="create_profile_token", request=CreateProfileToken, responses={201: ProfileTokenAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new token, which reads everybody in the space, personal data included, by the Profile API.

        Its secret is shown in this answer and never again.
        """
        name = parsed(CreateProfileToken, request)["name"]
        token, secret = services.create_profile_token(request.space, name=name, by=request)
        return answer(ProfileTokenAnswer, 201, token=token, context={"secret": secret})


@needs("space.admin")
class ProfileTokenView(APIView):
    @extend_schema(operation_id="revoke_profile_token", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, profile_token_id: str) -> Response:
        """Whoever uses it is refused from now on."""
        token = get_object_or_404(services.profile_tokens_of(request.space), public_id=profile_token_id)
        services.revoke_profile_token(token, by=request)
        return done()


@needs(ANYONE)
class SchemaView(SpectacularAPIView):
    """The OpenAPI description. It names no one's rows, so it is for everybody."""

    permission_classes = APIView.permission_classes  # its own default lets everyone in


@needs(ANYONE)
class DocsView(SpectacularSwaggerSplitView):
    """The same to read and to try. The script is a file of its own, as the content policy demands."""

    permission_classes = APIView.permission_classes  # its own default lets everyone in
    url_name = "api-schema"
