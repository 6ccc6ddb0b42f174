"""Who may do what: users, memberships, grants on spaces, invitations, tokens and the audit trail."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils.functional import cached_property
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from access import roles
from spaces.models import Owned, Space, Workspace, public_id


class Users(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, name: str = "") -> "User":
        user = self.model(email=self.normalize_email(email).lower(), name=name)
        user.set_password(password)
        user.save()
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """A person with an e-mail address. Belongs to any number of workspaces, with different roles."""

    public_id = public_id("usr")
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    objects = Users()

    def __str__(self) -> str:
        return self.name or self.email


class Membership(Owned):
    """A user in a workspace. An owner may do everything; a member what roles on spaces add."""

    class Role:
        OWNER = roles.OWNER
        MEMBER = roles.MEMBER

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=roles.workspace_choices, default=roles.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="one_membership_per_workspace")]

    @cached_property
    def granted(self) -> dict[int, frozenset[str]]:
        """What each space's roles add, by the space's key. One query, kept with this object."""
        filters = {"workspace_id": self.workspace_id}
        rows = SpaceGroupPermission.objects.filter(group__user=self.user_id, **filters)
        direct = SpaceUserPermission.objects.filter(user=self.user_id, **filters)
        columns = ("content_object_id", "permission__codename")
        names: dict[int, list[str]] = {}
        for space, codename in rows.values_list(*columns).union(direct.values_list(*columns)):
            names.setdefault(space, []).append(codename)
        return {space: roles.from_codenames(codenames) for space, codenames in names.items()}

    def may(self, permission: str, space: Space | None = None) -> bool:
        """Whether this person may do it here; a permission of a space needs the space."""
        if space and space.workspace_id != self.workspace_id:
            return False
        held = {} if self.role == roles.OWNER else self.granted
        return roles.allows(permission, workspace_role=self.role, granted=held, space=space.pk if space else None)


class OfSpace(Owned):
    """A grant on a space belongs to the space's workspace. guardian does not know that, so it is set here."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.workspace_id = self.content_object.workspace_id  # type: ignore[attr-defined]
        super().save(*args, **kwargs)


class SpaceUserPermission(OfSpace, UserObjectPermissionBase):
    """guardian's grant of one permission on one space to one user, by a real foreign key."""

    class Meta(UserObjectPermissionBase.Meta):
        abstract = False

    content_object = models.ForeignKey(Space, on_delete=models.CASCADE)


class SpaceGroupPermission(OfSpace, GroupObjectPermissionBase):
    """The same for a group; a role in a space is the group `space:<id>:<role>`."""

    class Meta(GroupObjectPermissionBase.Meta):
        abstract = False

    content_object = models.ForeignKey(Space, on_delete=models.CASCADE)


class Invitation(Owned):
    """An e-mail was asked to join. The link works once, until it expires; only its hash is kept."""

    public_id = public_id("inv")
    email = models.EmailField()
    role = models.CharField(max_length=20, choices=roles.workspace_choices, default=roles.MEMBER)
    grants = models.JSONField(default=list, help_text='[{"space": public id, "role": role key}, …]')
    token_hash = models.BinaryField(max_length=32, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class Token(Owned):
    """A bearer token: acts for its user, in its workspace. Shown once; only its hash is kept."""

    public_id = public_id("tok")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class AuditEntry(Owned):
    """Who changed what of configuration or access, and when. Only ever added to."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    token = models.ForeignKey(Token, on_delete=models.SET_NULL, null=True, related_name="+")
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=60, help_text="public id")
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["workspace", "-id"], name="audit_newest_first")]


__all__ = [
    "AuditEntry",
    "Invitation",
    "Membership",
    "SpaceGroupPermission",
    "SpaceUserPermission",
    "Token",
    "User",
    "Workspace",
]
