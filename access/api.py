"""The workspace, its spaces, its people and their tokens by REST."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from access import queries, roles, services
from access.envelope import conflict, data, done, invalid, missing, page, parsed
from access.models import Invitation, Membership, Token
from access.requests import ApiRequest
from access.services import Invited, NotPossible
from spaces.clock import clock
from spaces.models import Deletion, Space, Workspace
from spaces.needs import ANYONE, needs

MOST_INVITATIONS = 50  # in one request


class SpaceBody(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(choices=Space.Kind.choices, default=Space.Kind.DEV)


class GrantBody(serializers.Serializer[Any]):
    spaceId = serializers.CharField(max_length=40)
    role = serializers.ChoiceField(choices=list(roles.SPACE_ROLES))


class InviteBody(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES), default=roles.MEMBER)
    grants = GrantBody(many=True, required=False, default=list)


class InvitesBody(serializers.Serializer[Any]):
    invites: Any = serializers.ListSerializer(child=InviteBody(), min_length=1, max_length=MOST_INVITATIONS)


class TokenBody(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)


@needs("workspace.read")
class WorkspaceView(APIView):
    paged = False

    def get(self, request: ApiRequest) -> Response:
        """The workspace that the token belongs to, and who you are in it."""
        return data(workspace=render_workspace(request.workspace), you=_you(request.membership))


@needs("workspace.read", POST="workspace.manage")
class SpacesView(APIView):
    takes = {"POST": SpaceBody}

    def get(self, request: ApiRequest) -> Response:
        """The spaces you can see, oldest first."""
        return page(request, services.spaces_of(request.membership), name="spaces", render=render_space)

    def post(self, request: ApiRequest) -> Response:
        """A new space, for trying out (`dev`) or for real (`prod`). Its slug never changes."""
        wanted = parsed(SpaceBody, request)
        space = services.create_space(request.workspace, name=wanted["name"], kind=wanted["kind"], by=request)
        return data(201, space=render_space(space))


@needs("space.read", PATCH="space.admin", DELETE="workspace.manage")
class SpaceView(APIView):
    takes = {"PATCH": SpaceBody}

    def get(self, request: ApiRequest, space_id: str) -> Response:
        return data(space=render_space(request.space))

    def patch(self, request: ApiRequest, space_id: str) -> Response:
        """Rename it, or make a Dev space a Prod space and back."""
        changes = parsed(SpaceBody, request, partial=True)
        return data(space=render_space(services.change_space(request.space, by=request, **changes)))

    def delete(self, request: ApiRequest, space_id: str) -> Response:
        """The space, its profiles, audiences and destinations are out of sight, and are erased (see `/deletions`).

        Sources and their archive stay.
        """
        services.delete_space(request.space, by=request)
        return done()


@needs("workspace.read", POST="workspace.manage")
class InvitesView(APIView):
    takes = {"POST": InvitesBody}

    def get(self, request: ApiRequest) -> Response:
        """Invitations that were not accepted yet."""
        return page(request, queries.pending(request.workspace), name="invites", render=render_invite)

    def post(self, request: ApiRequest) -> Response:
        """Invite several people at once, each with roles in spaces. All are invited, or none."""
        people = self._people(request, parsed(InvitesBody, request)["invites"])
        try:
            origin = request.build_absolute_uri("/").rstrip("/")
            invited = services.invite(request.workspace, people, by=request, origin=origin)
        except NotPossible as error:
            raise invalid(str(error), "invites") from error
        return data(201, invites=[render_invite(invitation) for invitation in invited])

    def _people(self, request: ApiRequest, rows: list[dict[str, Any]]) -> list[Invited]:
        spaces = {space.public_id: space for space in Space.objects.filter(workspace=request.workspace)}
        people = []
        for number, row in enumerate(rows):
            for place, given in enumerate(row["grants"]):
                if given["spaceId"] not in spaces:
                    raise invalid("There is no such space.", f"invites[{number}].grants[{place}].spaceId")
            grants = [(spaces[given["spaceId"]], given["role"]) for given in row["grants"]]
            people.append(Invited(row["email"], row["role"], grants))
        return people


@needs("workspace.manage")
class InviteView(APIView):
    def delete(self, request: ApiRequest, invite_id: str) -> Response:
        """The link in the mail no longer works."""
        invitation = one(Invitation.objects.filter(workspace=request.workspace), invite_id)
        try:
            services.revoke_invitation(invitation, by=request)
        except NotPossible as error:
            raise conflict(str(error)) from error
        return done()


@needs("workspace.manage")
class DeletionsView(APIView):
    def get(self, request: ApiRequest) -> Response:
        """What was deleted, newest first, and how far the erasing of it is: rows by table, verified before `done`."""
        rows = Deletion.objects.filter(workspace=request.workspace)
        return page(request, rows, name="deletions", render=render_deletion, order="-id")


@needs("workspace.read")
class UsersView(APIView):
    def get(self, request: ApiRequest) -> Response:
        """The people of the workspace, with their roles."""
        grants = queries.grants_by_user(request.workspace)

        def render(member: Membership) -> dict[str, Any]:
            return render_member(member, grants.get(member.user_id, []))

        return page(request, queries.members(request.workspace), name="users", render=render)


@needs("workspace.read")
class TokensView(APIView):
    takes = {"POST": TokenBody}

    def get(self, request: ApiRequest) -> Response:
        """Your tokens; for an owner, everybody's. Never their secrets."""
        return page(request, services.tokens_of(request.membership), name="tokens", render=render_token)

    def post(self, request: ApiRequest) -> Response:
        """A new token that acts for you in this workspace. Its secret is shown in this answer and never again."""
        name = parsed(TokenBody, request)["name"]
        token, secret = services.create_token(request.workspace, request.user, name=name, by=request)
        return data(201, token=render_token(token) | {"secret": secret})


@needs("workspace.read")
class TokenView(APIView):
    def delete(self, request: ApiRequest, token_id: str) -> Response:
        """Whoever uses it is a stranger from now on."""
        services.revoke_token(one(services.tokens_of(request.membership), token_id), by=request)
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


def one(rows: "QuerySet[Any]", public_id: str) -> Any:
    """The row of this public id among those that the caller may see, or a 404."""
    found = rows.filter(public_id=public_id).first()
    if found is None:
        raise missing()
    return found


def moment(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as everywhere in the API."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def render_workspace(workspace: Workspace) -> dict[str, Any]:
    return {"id": workspace.public_id, "slug": workspace.slug, "name": workspace.name}


def render_space(space: Space) -> dict[str, Any]:
    return {
        "id": space.public_id,
        "slug": space.slug,
        "name": space.name,
        "kind": space.kind,
        "createdAt": moment(space.created_at),
    }


def render_deletion(deletion: Deletion) -> dict[str, Any]:
    return {
        "id": deletion.public_id,
        "kind": deletion.kind,
        "of": deletion.target_id,
        "name": deletion.name,
        "state": deletion.state,
        "table": deletion.table or None,
        "total": deletion.total,
        "done": deletion.done,
        "erased": deletion.erased,
        "requestedAt": moment(deletion.requested_at),
        "checkAt": moment(deletion.check_at),
        "finishedAt": moment(deletion.finished_at),
    }


def render_invite(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.public_id,
        "email": invitation.email,
        "role": invitation.role,
        "grants": [{"spaceId": row["space"], "role": row["role"]} for row in invitation.grants],
        "createdAt": moment(invitation.created_at),
        "expiresAt": moment(invitation.expires_at),
        "expired": invitation.expires_at <= clock.now(),
    }


def render_member(member: Membership, grants: list[queries.Grant]) -> dict[str, Any]:
    return {
        "id": member.user.public_id,
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "grants": [{"spaceId": given.space.public_id, "role": given.role} for given in grants],
    }


def render_token(token: Token) -> dict[str, Any]:
    return {
        "id": token.public_id,
        "name": token.name,
        "user": token.user.email,
        "createdAt": moment(token.created_at),
        "lastUsedAt": moment(token.last_used_at),
    }


def _you(membership: Membership) -> dict[str, Any]:
    held = [permission for permission in roles.WORKSPACE_PERMISSIONS if membership.may(permission)]
    return {"id": membership.user.public_id, "email": membership.user.email, "role": membership.role, "may": held}
