"""Roles in spaces: a role is the group `space:<id>:<role>`, which holds guardian's permissions on the space."""

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import QuerySet

from access import roles
from access.models import Membership, SpaceGroupPermission, User
from access.services.audit import ActorLike, NotPossible, actor_of, audit
from spaces.models import Space, Workspace


def grant(space: Space, user: User, role: str, *, by: ActorLike) -> None:
    """The member has the role in the space, and no other. Raises NotPossible when `by` may not give it."""
    may_give(by, space, role)
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
    """The group that holds a role in a space, with exactly the role's permissions."""
    if role not in roles.SPACE_ROLES:
        raise NotPossible(f"There is no role “{role}” in a space; there are {', '.join(roles.SPACE_ROLES)}.")
    group, _ = Group.objects.get_or_create(name=f"{group_prefix(space)}{role}")
    _write_permissions(space, group, roles.codenames(role))
    return group


def sync_roles() -> int:
    """Every group of a role has exactly the permissions that access.roles says now. How many groups there are."""
    known = {space.pk: space for space in Space.objects.all()}
    count = 0
    for group in Group.objects.filter(name__regex=r"^space:\d+:"):
        _, space_id, role = group.name.split(":", 2)
        if int(space_id) in known:
            names = roles.codenames(role) if role in roles.SPACE_ROLES else frozenset[str]()
            _write_permissions(known[int(space_id)], group, names)
            count += 1
    return count


def grants_of(membership: Membership) -> list[tuple[Space, str]]:
    """The spaces this member has a role in, with the role."""
    names = membership.user.groups.filter(name__regex=r"^space:\d+:").values_list("name", flat=True)
    held = {int(name.split(":")[1]): name.split(":", 2)[2] for name in names}
    found = Space.objects.filter(workspace=membership.workspace_id, pk__in=held).order_by("id")
    return [(space, held[space.pk]) for space in found]


def spaces_of(membership: Membership) -> "QuerySet[Space]":
    """The spaces this member can see: an owner all of them."""
    visible = Space.objects.filter(workspace=membership.workspace_id)
    if membership.role == roles.OWNER:
        return visible
    return visible.filter(pk__in=[pk for pk, held in membership.granted.items() if "space.read" in held])


def group_prefix(space: Space) -> str:
    return f"space:{space.pk}:"


def groups_of(workspace: Workspace) -> str:
    """A pattern for the names of all role groups of a workspace."""
    keys = Space.objects.filter(workspace=workspace).values_list("pk", flat=True)
    return rf"^space:({'|'.join(map(str, keys)) or 'none'}):"


def leave_groups(space: Space, user: User) -> None:
    user.groups.remove(*Group.objects.filter(user=user, name__startswith=group_prefix(space)))


def _write_permissions(space: Space, group: Group, codenames: Iterable[str]) -> None:
    wanted = set(codenames)
    held = SpaceGroupPermission.objects.filter(group=group, content_object=space)
    held.exclude(permission__codename__in=wanted).delete()
    missing = wanted - set(held.values_list("permission__codename", flat=True))
    of_spaces = Permission.objects.filter(content_type__app_label="spaces", content_type__model="space")
    for permission in of_spaces.filter(codename__in=missing):
        SpaceGroupPermission.objects.create(group=group, permission=permission, content_object=space)


def may_give(by: ActorLike, space: Space, role: str) -> None:
    """Only an owner gives roles, and nobody gives more than they hold: no way up for a member."""
    if role not in roles.SPACE_ROLES:
        raise NotPossible(f"There is no role “{role}” in a space; there are {', '.join(roles.SPACE_ROLES)}.")
    user = actor_of(by).user
    if user is None:
        return  # a command on the server
    own = Membership.objects.filter(workspace=space.workspace_id, user=user).first()
    wanted = {"workspace.manage", *roles.SPACE_ROLES[role].permissions}
    if own is None or not all(own.may(permission, space) for permission in wanted):
        raise NotPossible("Only an owner of the workspace can give roles.")
