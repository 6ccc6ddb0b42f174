"""What the API takes and answers about the workspace, and what every answer is made of.

A class named after a thing (`SpaceSerializer`) is that thing in an answer; `CreateSpace` and `ChangeSpace` are bodies;
`SpaceAnswer` is a whole answer. `example` is shown in the API's description, there and in whatever holds it.
"""

import json
from datetime import datetime
from typing import Any, ClassVar, cast

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from access import roles
from spaces.clock import clock
from spaces.models import Deletion, Space
from spaces.times import iso

MOST_INVITATIONS = 50  # in one request
AT = "2026-06-15T12:00:00.000Z"  # the moment of all examples
# Schema of whatever somebody sent. Generators of clients take no list that says nothing of what is in it.
ANY_JSON = {"type": ["string", "number", "boolean", "object", "null", "array"], "items": {}}


def moment(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as everywhere in the API."""
    return iso(at) if at else None


class MomentField(serializers.DateTimeField):
    example = AT

    def to_representation(self, value: datetime) -> str | None:  # type: ignore[override]
        return moment(value)


class TextOrNull(serializers.CharField):
    """A text whose column has "" for none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **options)

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]
        return str(value) if value else None


class Envelope(serializers.Serializer[Any]):
    # A whole answer: `{"data": {…}}` around its fields. (A docstring here would be everybody's description.)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {"data": super().to_representation(instance)}


def enveloped(name: str, **fields: serializers.Field[Any, Any, Any, Any]) -> type[Envelope]:
    """The envelope of these fields. name: of its component in the API's description."""
    return cast("type[Envelope]", type(name, (Envelope,), fields))


def answer(
    envelope: type[Envelope], code: int = 200, *, context: dict[str, Any] | None = None, **fields: Any
) -> Response:
    """A response of these fields. context: what serializers inside of it look up."""
    return Response(envelope(fields, context=context or {}).data, status=code)


class Success(Envelope):
    """It is gone, or it was gone already."""

    status = serializers.ChoiceField(choices=["SUCCESS"])


def done() -> Response:
    return answer(Success, status="SUCCESS")


class ErrorSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"type": "validation-error", "message": "This field is required.", "field": "name"}

    type = serializers.CharField(help_text="The kind of error, one for each status.")
    message = serializers.CharField(help_text="What is wrong, for people to read.")
    field = serializers.CharField(required=False, help_text="Where: a path such as `invites[0].email`.")


class Errors(serializers.Serializer[Any]):
    """What is wrong: one error, or one for each field of the body that is."""

    errors: Any = ErrorSerializer(many=True)


class WorkspaceSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"id": "wsp_2qKf0", "slug": "acme", "name": "Acme"}

    id = serializers.CharField(source="public_id")
    slug = serializers.CharField(help_text="Its name in addresses of the console.")
    name = serializers.CharField()


class YouSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"id": "usr_2qKf0", "email": "ada@example.com", "role": "owner", "may": ["workspace.read"]}

    id = serializers.CharField(source="user.public_id")
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES))
    may = serializers.SerializerMethodField(help_text="Your permissions of the workspace.")

    # Permissions and not the role: what a role allows may change with a release, and clients should not know it.
    def get_may(self, membership: Any) -> list[str]:
        return [permission for permission in roles.WORKSPACE_PERMISSIONS if membership.may(permission)]


class WorkspaceAnswer(Envelope):
    workspace = WorkspaceSerializer()
    you = YouSerializer()


class SpaceSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"id": "spa_2qKf0", "slug": "shop", "name": "Shop", "kind": "dev"}

    id = serializers.CharField(source="public_id")
    slug = serializers.CharField(help_text="Its name in addresses of the console; never changes.")
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Space.Kind.choices)
    createdAt = MomentField(source="created_at")


class CreateSpace(serializers.Serializer[Any]):
    example: ClassVar = {"name": "Shop", "kind": "dev"}

    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(choices=Space.Kind.choices, default=Space.Kind.DEV)


class ChangeSpace(serializers.Serializer[Any]):
    example: ClassVar = {"kind": "prod"}

    name = serializers.CharField(max_length=100, required=False)
    kind = serializers.ChoiceField(choices=Space.Kind.choices, required=False)


class GrantSerializer(serializers.Serializer[Any]):
    """A role in a space."""

    example: ClassVar = {"spaceId": "spa_2qKf0", "role": "user", "personalData": False}

    spaceId = serializers.CharField(max_length=40)
    role = serializers.ChoiceField(choices=list(roles.SPACE_ROLES))
    personalData = serializers.BooleanField(
        default=False, help_text="See names, e-mail addresses and telephone numbers; admins always do."
    )


class InviteSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "inv_2qKf0",
        "email": "grace@example.com",
        "role": "member",
        "invitedBy": "ada@example.com",
        "expiresAt": "2026-06-22T12:00:00.000Z",
        "expired": False,
    }

    id = serializers.CharField(source="public_id")
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES))
    grants = serializers.SerializerMethodField()
    invitedBy = serializers.CharField(
        source="invited_by.email", default=None, allow_null=True, help_text="null = a command"
    )
    createdAt = MomentField(source="created_at")
    expiresAt = MomentField(source="expires_at")
    expired = serializers.SerializerMethodField(help_text="Whether its link no longer works.")

    @extend_schema_field(GrantSerializer(many=True))
    def get_grants(self, invitation: Any) -> list[dict[str, Any]]:
        return [
            # Invitations from before that right have no word of it.
            {"spaceId": row["space"], "role": row["role"], "personalData": row.get("personal", False)}
            for row in invitation.grants
        ]

    def get_expired(self, invitation: Any) -> bool:
        return bool(invitation.expires_at <= clock.now())


class AuditEntrySerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "actor": "ada@example.com",
        "token": "Nightly export",
        "address": "203.0.113.9",
        "action": "space.created",
        "target": "spa_2qKf0",
        "detail": '{"name": "Shop", "kind": "dev"}',
    }

    at = MomentField()
    actor = serializers.CharField(source="actor.email", default=None, allow_null=True, help_text="null = a command")
    token = serializers.CharField(source="token.name", default=None, allow_null=True, help_text="Its name.")
    address = serializers.CharField(help_text="From where; empty = unknown.")
    action = serializers.CharField(help_text="Such as space.created, signed.in, exported.")
    target = serializers.CharField(help_text="The id of what it is about.")
    detail = serializers.SerializerMethodField(help_text="JSON, as text: what it holds differs by action.")

    def get_detail(self, entry: Any) -> str:
        # An object of any shape would be one that the API's description says nothing of.
        return json.dumps(entry.detail, ensure_ascii=False)


class CreateInvite(serializers.Serializer[Any]):
    example: ClassVar = {"email": "grace@example.com", "role": "member", "grants": [GrantSerializer.example]}

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES), default=roles.MEMBER)
    grants = GrantSerializer(many=True, required=False, default=list)


class CreateInvites(serializers.Serializer[Any]):
    # Each is a mail that is sent while the caller waits.
    invites: Any = serializers.ListSerializer(child=CreateInvite(), min_length=1, max_length=MOST_INVITATIONS)


class UserSerializer(serializers.Serializer[Any]):
    # Of a membership. Context: `grants` by user.

    example: ClassVar = {
        "id": "usr_2qKf0",
        "email": "ada@example.com",
        "name": "Ada",
        "role": "owner",
    }

    id = serializers.CharField(source="user.public_id")
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES))
    grants = serializers.SerializerMethodField()
    joinedAt = MomentField(source="created_at")

    @extend_schema_field(GrantSerializer(many=True))
    def get_grants(self, member: Any) -> list[dict[str, Any]]:
        grants = self.context["grants"].get(member.user_id, [])
        return [
            {"spaceId": given.space.public_id, "role": given.role, "personalData": given.personal} for given in grants
        ]


class TokenSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"id": "tok_2qKf0", "name": "Nightly export", "user": "ada@example.com", "lastUsedAt": None}

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    user = serializers.EmailField(source="user.email", help_text="Whom it acts for.")
    createdAt = MomentField(source="created_at")
    lastUsedAt = MomentField(source="last_used_at", allow_null=True, help_text="To the minute.")


class SecretField(serializers.CharField):
    """Shown this once. Context: `secret`, since only its hash is stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", read_only=True, **options)

    def to_representation(self, value: Any) -> str:
        return str(self.context["secret"])


class NewTokenSerializer(TokenSerializer):
    # Context: `secret`.

    example: ClassVar = {**TokenSerializer.example, "secret": "pat_…"}

    secret = SecretField(help_text="What to send as `Authorization: Bearer …`; never shown again.")


class CreateToken(serializers.Serializer[Any]):
    example: ClassVar = {"name": "Nightly export"}

    name = serializers.CharField(max_length=100)


class ProfileTokenSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "ptk_2qKf0",
        "name": "shop/production",
        "createdBy": "ada@example.com",
        "lastUsedAt": None,
    }

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    createdBy = serializers.EmailField(
        source="created_by.email", default=None, allow_null=True, help_text="null = they are no longer here."
    )
    createdAt = MomentField(source="created_at")
    lastUsedAt = MomentField(source="last_used_at", allow_null=True, help_text="To the minute.")


class NewProfileTokenSerializer(ProfileTokenSerializer):
    # Context: `secret`.

    example: ClassVar = {**ProfileTokenSerializer.example, "secret": "prf_…"}

    secret = SecretField(help_text="The user name of Basic authorization, with an empty password; never shown again.")


class CreateProfileToken(serializers.Serializer[Any]):
    example: ClassVar = {"name": "shop/production"}

    name = serializers.CharField(max_length=100)


class DeletionSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "del_2qKf0",
        "kind": "audience",
        "of": "aud_2qKf0",
        "name": "Buyers",
        "state": "done",
        "table": None,
        "total": 120,
        "done": 120,
        "erased": {"audiences_change": 120},
    }

    id = serializers.CharField(source="public_id")
    kind = serializers.ChoiceField(choices=Deletion.TargetKind.choices)
    of = serializers.CharField(source="target_id", help_text="The id of what was deleted.")
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=Deletion.State.choices)
    table = TextOrNull(help_text="The one at work.")
    total = serializers.IntegerField(allow_null=True, help_text="Rows when it began.")
    done = serializers.IntegerField(help_text="Rows erased so far.")
    erased = serializers.DictField(child=serializers.IntegerField(), help_text="The same by table.")
    requestedAt = MomentField(source="requested_at")
    checkAt = MomentField(source="check_at", allow_null=True, help_text="When it is looked at again for late rows.")
    finishedAt = MomentField(source="finished_at", allow_null=True)


# Whole answers.
SpaceAnswer = enveloped("SpaceAnswer", space=SpaceSerializer())
InvitesAnswer = enveloped("InvitesAnswer", invites=InviteSerializer(many=True))
TokenAnswer = enveloped("TokenAnswer", token=NewTokenSerializer())
ProfileTokenAnswer = enveloped("ProfileTokenAnswer", token=NewProfileTokenSerializer())
