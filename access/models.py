"""Who may do what: users, memberships, grants on spaces, invitations, tokens and the audit trail."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils.functional import cached_property
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from access import roles
from spaces.models import Owned, Space, public_id


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, name: str = "") -> "User":
        # Small letters throughout: normalize_email leaves the part before the @ as it was typed.
        user = self.model(email=self.normalize_email(email).lower(), name=name)
        user.set_password(password)
        user.save()
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """A person with an e-mail address, in any number of workspaces, with a role of its own in each."""

    public_id = public_id("usr")
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    objects = UserManager()

    def __str__(self) -> str:
        return self.name or self.email


class Membership(Owned):
    """A user in a workspace. An owner may do everything; a member only what roles in spaces allow."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=roles.workspace_choices, default=roles.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="one_membership_per_workspace")]

    @cached_property
    def granted(self) -> dict[int, frozenset[str]]:
        """The permissions granted in each space, by the primary key of the space. One query, cached on this object."""
        # Not guardian's get_objects_for_user: that asks for one permission at a time.
        filters = {"workspace_id": self.workspace_id}
        by_role = SpaceGroupPermission.objects.filter(group__user=self.user_id, **filters)
        direct = SpaceUserPermission.objects.filter(user=self.user_id, **filters)
        columns = ("content_object_id", "permission__codename")
        codenames: dict[int, list[str]] = {}
        for space, codename in by_role.values_list(*columns).union(direct.values_list(*columns)):
            codenames.setdefault(space, []).append(codename)
        return {space: roles.from_codenames(names) for space, names in codenames.items()}

    def may(self, permission: str, space: Space | None = None) -> bool:
        """Whether the member has the permission; one of a space needs the space."""
        if space and space.workspace_id != self.workspace_id:
            return False
        # An owner has every permission by role, so the query for grants is saved.
        granted = {} if self.role == roles.OWNER else self.granted
        return roles.allows(permission, workspace_role=self.role, granted=granted, space=space.pk if space else None)


class SpacePermission(Owned):
    """A grant on a space. It belongs to the workspace of the space."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        # guardian creates these rows and does not know our workspace column.
        self.workspace_id = self.content_object.workspace_id  # type: ignore[attr-defined]
        super().save(*args, **kwargs)


class SpaceUserPermission(SpacePermission, UserObjectPermissionBase):
    """guardian's grant of one permission on one space to one user, with a foreign key to the space."""

    class Meta(UserObjectPermissionBase.Meta):
        abstract = False

    content_object = models.ForeignKey(Space, on_delete=models.CASCADE)


class SpaceGroupPermission(SpacePermission, GroupObjectPermissionBase):
    """The same for a group. Each role in a space is a group (roles.group_name)."""

    class Meta(GroupObjectPermissionBase.Meta):
        abstract = False

    content_object = models.ForeignKey(Space, on_delete=models.CASCADE)


class Invitation(Owned):
    """An e-mail address was invited. The link works once, until it expires."""

    public_id = public_id("inv")
    email = models.EmailField()
    role = models.CharField(max_length=20, choices=roles.workspace_choices, default=roles.MEMBER)
    grants = models.JSONField(default=list, help_text='[{"space": public id, "role": role key, "personal": …}, …]')
    # Of the secret in the link, so that a stolen database opens nothing.
    token_hash = models.BinaryField(max_length=32, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class Token(Owned):
    """A bearer token of the API: acts for its user in its workspace. The secret is shown once; the hash is stored."""

    public_id = public_id("tok")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class ProfileToken(Owned):
    """A token of a space's Profile API: reads everybody there. The secret is shown once; the hash is stored."""

    public_id = public_id("ptk")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="profile_tokens")
    name = models.CharField(max_length=100)
    hash = models.BinaryField(max_length=32, unique=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class SignedIn(models.Model):
    """A session in which a user is signed in: Django's own table does not say whose a session is."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="signed_in")
    # No foreign key: sessions come and go by Django's own hand, which knows nothing of this table.
    session = models.CharField(max_length=40, unique=True, help_text="Django's key of it")
    at = models.DateTimeField()
    address = models.CharField(max_length=45)
    agent = models.CharField(max_length=200, help_text="as the browser calls itself")


class AuditEntry(Owned):
    """Who changed which configuration or access, and when. Rows are added, never changed."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    token = models.ForeignKey(Token, on_delete=models.SET_NULL, null=True, related_name="+")
    action = models.CharField(max_length=60)
    address = models.CharField(max_length=45, blank=True, default="", help_text="from where; empty = a command")
    target = models.CharField(max_length=60, help_text="public id")  # as text: what it names may be gone by now
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["workspace", "-id"], name="audit_newest_first")]
