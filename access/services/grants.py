"""Roles in spaces. A role is the group `space:<id>:<role>`, to which guardian grants permissions on the space."""

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import QuerySet

from access import roles
from access.models import Membership, SpaceGroupPermission, User
from access.services.audit import ActorLike, NotPossible, actor_of, audit
from spaces.models import Space, Workspace


def grant(space: Space, user: User, role: str, *, by: ActorLike) -> None:
    """The member has this role in the space, and no other. Raises NotPossible when `by` may not give it."""
    check_may_grant(by, space, role)
    if not Membership.objects.filter(workspace=space.workspace_id, user=user).exists():
        raise NotPossible(f"{user.email} is not in this workspace.")
    with transaction.atomic():
        leave_groups(space, user)
        user.groups.add(role_group(space, role))
        audit(by, "grant.given", space, user=user.email, role=role)


def revoke(space: Space, user: User, *, by: ActorLike) -> None:
    """The user has no role in the space."""
    with transaction.atomic():
        leave_groups(space, user)
        audit(by, "grant.revoked", space, user=user.email)


def role_group(space: Space, role: str) -> Group:
    """The group of a role in a space, which has exactly the permissions of the role."""
    if role not in roles.SPACE_ROLES:
        raise NotPossible(f"There is no role “{role}” in a space; there are {', '.join(roles.SPACE_ROLES)}.")
    group, _ = Group.objects.get_or_create(name=f"{group_prefix(space)}{role}")
    _write_permissions(space, group, roles.codenames(role))
    return group


def sync_roles() -> int:
    """Every group of a role has the permissions that access.roles now defines. Returns the number of groups."""
    spaces = {space.pk: space for space in Space.objects.all()}
    count = 0
    for group in Group.objects.filter(name__regex=r"^space:\d+:"):
        _, space_id, role = group.name.split(":", 2)
        if int(space_id) in spaces:
            # A role that this release no longer defines allows nothing.
            names = roles.codenames(role) if role in roles.SPACE_ROLES else frozenset[str]()
            _write_permissions(spaces[int(space_id)], group, names)
            count += 1
    return count


def grants_of(membership: Membership) -> list[tuple[Space, str]]:
    """The spaces in which this member has a role, each with the role."""
    names = membership.user.groups.filter(name__regex=r"^space:\d+:").values_list("name", flat=True)
    roles_by_space = {int(name.split(":")[1]): name.split(":", 2)[2] for name in names}
    # The groups of a user are of all their workspaces: the filter leaves those of this one.
    spaces = Space.objects.filter(workspace=membership.workspace_id, pk__in=roles_by_space).order_by("id")
    return [(space, roles_by_space[space.pk]) for space in spaces]


def spaces_of(membership: Membership) -> "QuerySet[Space]":
    """The spaces that this member can see; for an owner all of the workspace."""
    visible = Space.objects.filter(workspace=membership.workspace_id)
    if membership.role == roles.OWNER:
        return visible
    readable = [pk for pk, permissions in membership.granted.items() if "space.read" in permissions]
    return visible.filter(pk__in=readable)


def group_prefix(space: Space) -> str:
    return f"space:{space.pk}:"


def group_pattern(workspace: Workspace) -> str:
    """A regular expression for the names of all role groups of a workspace."""
    # `none` keeps a workspace without spaces from matching the groups of every other one.
    keys = Space.objects.filter(workspace=workspace).values_list("pk", flat=True)
    return rf"^space:({'|'.join(map(str, keys)) or 'none'}):"


def leave_groups(space: Space, user: User) -> None:
    user.groups.remove(*Group.objects.filter(user=user, name__startswith=group_prefix(space)))


def _write_permissions(space: Space, group: Group, codenames: Iterable[str]) -> None:
    wanted = set(codenames)
    granted = SpaceGroupPermission.objects.filter(group=group, content_object=space)
    granted.exclude(permission__codename__in=wanted).delete()
    missing = wanted - set(granted.values_list("permission__codename", flat=True))
    permissions = Permission.objects.filter(content_type__app_label="spaces", content_type__model="space")
    for permission in permissions.filter(codename__in=missing):
        SpaceGroupPermission.objects.create(group=group, permission=permission, content_object=space)


def check_may_grant(by: ActorLike, space: Space, role: str) -> None:
    """Raises NotPossible unless `by` owns the workspace and has every permission that the role gives."""
    if role not in roles.SPACE_ROLES:
        raise NotPossible(f"There is no role “{role}” in a space; there are {', '.join(roles.SPACE_ROLES)}.")
    user = actor_of(by).user
    if user is None:
        return  # a command on the server
    own = Membership.objects.filter(workspace=space.workspace_id, user=user).first()
    wanted = {"workspace.manage", *roles.SPACE_ROLES[role].permissions}
    if own is None or not all(own.may(permission, space) for permission in wanted):
        raise NotPossible("Only an owner of the workspace can give roles.")
