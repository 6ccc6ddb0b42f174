"""What the API takes and answers about the workspace, and what every answer is made of.

A class named after a thing (`SpaceSerializer`) is that thing in an answer; `CreateSpace` and `ChangeSpace` are bodies;
`SpaceAnswer` is a whole answer. `initial` of a field is its example in the API's description.
"""

import json
from datetime import datetime
from typing import Any, cast

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

    def __init__(self, **options: Any) -> None:  # an `initial` is a text
        super().__init__(**options)

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
    type = serializers.CharField(help_text="The kind of error, one for each status.", initial="validation-error")
    message = serializers.CharField(help_text="What is wrong, for people to read.", initial="This field is required.")
    field = serializers.CharField(required=False, help_text="Where: a path such as `invites[0].email`.", initial="name")


class Errors(serializers.Serializer[Any]):
    """What is wrong: one error, or one for each field of the body that is."""

    errors: Any = ErrorSerializer(many=True)


class WorkspaceSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="wsp_2qKf0")
    slug = serializers.CharField(help_text="Its name in addresses of the console.", initial="acme")
    name = serializers.CharField(initial="Acme")


class YouSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="user.public_id", initial="usr_2qKf0")
    email = serializers.EmailField(source="user.email", initial="ada@example.com")
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES), initial="owner")
    may = serializers.SerializerMethodField(help_text="Your permissions of the workspace.", initial=["workspace.read"])

    # Permissions and not the role: what a role allows may change with a release, and clients should not know it.
    def get_may(self, membership: Any) -> list[str]:
        return [permission for permission in roles.WORKSPACE_PERMISSIONS if membership.may(permission)]


class WorkspaceAnswer(Envelope):
    workspace = WorkspaceSerializer()
    you = YouSerializer()


class SpaceSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="spa_2qKf0")
    slug = serializers.CharField(help_text="Its name in addresses of the console; never changes.", initial="shop")
    name = serializers.CharField(initial="Shop")
    kind = serializers.ChoiceField(choices=Space.Kind.choices, initial="dev")
    createdAt = MomentField(source="created_at")


class CreateSpace(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, initial="Shop")
    kind = serializers.ChoiceField(choices=Space.Kind.choices, default=Space.Kind.DEV, initial="dev")


class ChangeSpace(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    kind = serializers.ChoiceField(choices=Space.Kind.choices, required=False, initial="prod")


class GrantSerializer(serializers.Serializer[Any]):
    """A role in a space."""

    spaceId = serializers.CharField(max_length=40, initial="spa_2qKf0")
    role = serializers.ChoiceField(choices=list(roles.SPACE_ROLES), initial="user")
    personalData = serializers.BooleanField(
        default=False, help_text="See names, e-mail addresses and telephone numbers; admins always do.", initial=False
    )


class InviteSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="inv_2qKf0")
    email = serializers.EmailField(initial="grace@example.com")
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES), initial="member")
    grants = serializers.SerializerMethodField()
    invitedBy = serializers.CharField(
        source="invited_by.email",
        default=None,
        allow_null=True,
        help_text="null = a command",
        initial="ada@example.com",
    )
    createdAt = MomentField(source="created_at")
    expiresAt = MomentField(source="expires_at", initial="2026-06-22T12:00:00.000Z")
    expired = serializers.SerializerMethodField(help_text="Whether its link no longer works.", initial=False)

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
    at = MomentField()
    actor = serializers.CharField(
        source="actor.email", default=None, allow_null=True, help_text="null = a command", initial="ada@example.com"
    )
    token = serializers.CharField(
        source="token.name", default=None, allow_null=True, help_text="Its name.", initial="Nightly export"
    )
    address = serializers.CharField(help_text="From where; empty = unknown.", initial="203.0.113.9")
    action = serializers.CharField(help_text="Such as space.created, signed.in, exported.", initial="space.created")
    target = serializers.CharField(help_text="The id of what it is about.", initial="spa_2qKf0")
    detail = serializers.SerializerMethodField(
        help_text="JSON, as text: what it holds differs by action.", initial='{"name": "Shop", "kind": "dev"}'
    )

    def get_detail(self, entry: Any) -> str:
        # An object of any shape would be one that the API's description says nothing of.
        return json.dumps(entry.detail, ensure_ascii=False)


class CreateInvite(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254, initial="grace@example.com")
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES), default=roles.MEMBER, initial="member")
    grants = GrantSerializer(
        many=True,
        required=False,
        default=list,
        initial=[{"spaceId": "spa_2qKf0", "role": "user", "personalData": False}],
    )


class CreateInvites(serializers.Serializer[Any]):
    # Each is a mail that is sent while the caller waits.
    invites: Any = serializers.ListSerializer(child=CreateInvite(), min_length=1, max_length=MOST_INVITATIONS)


class UserSerializer(serializers.Serializer[Any]):
    # Of a membership. Context: `grants` by user.

    id = serializers.CharField(source="user.public_id", initial="usr_2qKf0")
    email = serializers.EmailField(source="user.email", initial="ada@example.com")
    name = serializers.CharField(source="user.name", initial="Ada")
    role = serializers.ChoiceField(choices=list(roles.WORKSPACE_ROLES), initial="owner")
    grants = serializers.SerializerMethodField()
    joinedAt = MomentField(source="created_at")

    @extend_schema_field(GrantSerializer(many=True))
    def get_grants(self, member: Any) -> list[dict[str, Any]]:
        grants = self.context["grants"].get(member.user_id, [])
        return [
            {"spaceId": given.space.public_id, "role": given.role, "personalData": given.personal} for given in grants
        ]


class TokenSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="tok_2qKf0")
    name = serializers.CharField(initial="Nightly export")
    user = serializers.EmailField(source="user.email", help_text="Whom it acts for.", initial="ada@example.com")
    createdAt = MomentField(source="created_at")
    lastUsedAt = MomentField(source="last_used_at", allow_null=True, help_text="To the minute.", initial=None)


class SecretField(serializers.CharField):
    """Shown this once. Context: `secret`, since only its hash is stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", read_only=True, **options)

    def to_representation(self, value: Any) -> str:
        return str(self.context["secret"])


class NewTokenSerializer(TokenSerializer):
    # Context: `secret`.

    secret = SecretField(help_text="What to send as `Authorization: Bearer …`; never shown again.", initial="pat_…")


class CreateToken(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, initial="Nightly export")


class ProfileTokenSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="ptk_2qKf0")
    name = serializers.CharField(initial="shop/production")
    createdBy = serializers.EmailField(
        source="created_by.email",
        default=None,
        allow_null=True,
        help_text="null = they are no longer here.",
        initial="ada@example.com",
    )
    createdAt = MomentField(source="created_at")
    lastUsedAt = MomentField(source="last_used_at", allow_null=True, help_text="To the minute.", initial=None)


class NewProfileTokenSerializer(ProfileTokenSerializer):
    # Context: `secret`.

    secret = SecretField(
        help_text="The user name of Basic authorization, with an empty password; never shown again.", initial="prf_…"
    )


class CreateProfileToken(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, initial="shop/production")


class DeletionSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="del_2qKf0")
    kind = serializers.ChoiceField(choices=Deletion.TargetKind.choices, initial="audience")
    of = serializers.CharField(source="target_id", help_text="The id of what was deleted.", initial="aud_2qKf0")
    name = serializers.CharField(initial="Buyers")
    state = serializers.ChoiceField(choices=Deletion.State.choices, initial="done")
    table = TextOrNull(help_text="The one at work.", initial=None)
    total = serializers.IntegerField(allow_null=True, help_text="Rows when it began.", initial=120)
    done = serializers.IntegerField(help_text="Rows erased so far.", initial=120)
    erased = serializers.DictField(
        child=serializers.IntegerField(), help_text="The same by table.", initial={"audiences_change": 120}
    )
    requestedAt = MomentField(source="requested_at")
    checkAt = MomentField(source="check_at", allow_null=True, help_text="When it is looked at again for late rows.")
    finishedAt = MomentField(source="finished_at", allow_null=True)


# Whole answers.
SpaceAnswer = enveloped("SpaceAnswer", space=SpaceSerializer())
InvitesAnswer = enveloped("InvitesAnswer", invites=InviteSerializer(many=True))
TokenAnswer = enveloped("TokenAnswer", token=NewTokenSerializer())
ProfileTokenAnswer = enveloped("ProfileTokenAnswer", token=NewProfileTokenSerializer())
