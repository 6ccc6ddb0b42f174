"""Roles in spaces. A role is the group `space:<id>:<role>`, to which guardian grants permissions on the space."""

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import QuerySet
from guardian.shortcuts import assign_perm, remove_perm

from access import queries, roles
from access.models import Membership, SpaceGroupPermission, SpaceUserPermission, User
from access.services.audit import ActorLike, NotPossible, actor_of, audit
from spaces.models import Space


def grant(space: Space, user: User, role: str, *, personal: bool = False, by: ActorLike) -> None:
    """The member has this role in the space, and no other. Raises NotPossible when `by` may not give it.

    personal: the member sees personal data there, whatever the role.
    """
    check_may_grant(by, space, role)
    # guardian would give anybody anything; the workspace of a space is a rule of ours.
    if not Membership.objects.filter(workspace=space.workspace_id, user=user).exists():
        raise NotPossible(f"{user.email} is not in this workspace.")
    with transaction.atomic():
        join_group(space, user, role, personal=personal)
        audit(by, "grant.given", space, user=user.email, role=role, personalData=personal)


def revoke(space: Space, user: User, *, by: ActorLike) -> None:
    """The user has no role in the space."""
    with transaction.atomic():
        leave_groups(space, user)
        audit(by, "grant.revoked", space, user=user.email)


def role_group(space: Space, role: str) -> Group:
    """The group of a role in a space, which has exactly the permissions of the role."""
    _check_known(role)
    group, _ = Group.objects.get_or_create(name=roles.group_name(space.pk, role))
    _write_permissions(space, group, roles.codenames(role))
    return group


def sync_roles() -> int:
    """Every group of a role has the permissions that access.roles now defines. Returns the number of groups."""
    count = 0
    for space in Space.objects.all():
        role_by_name = {roles.group_name(space.pk, role): role for role in roles.SPACE_ROLES}
        for group in Group.objects.filter(name__startswith=roles.group_prefix(space.pk)):
            # A role that this release no longer defines allows nothing.
            role = role_by_name.get(group.name)
            _write_permissions(space, group, roles.codenames(role) if role else frozenset())
            count += 1
    return count


def grants_of(membership: Membership) -> list[tuple[Space, str]]:
    """The spaces in which this member has a role, each with the role."""
    by_group = queries.grants_by_group(membership.workspace_id)
    # The groups of a user are of all their workspaces: the filter leaves those of this one.
    present = Group.objects.filter(user=membership.user_id, name__in=by_group).values_list("name", flat=True)
    grants = sorted((by_group[name] for name in present), key=lambda grant: grant.space.pk)
    return [(grant.space, grant.role) for grant in grants]


def spaces_of(membership: Membership) -> "QuerySet[Space]":
    """The spaces that this member can see; for an owner all of the workspace."""
    visible = Space.objects.filter(workspace=membership.workspace_id)
    if membership.role == roles.OWNER:
        return visible
    readable = [pk for pk, permissions in membership.granted.items() if "space.read" in permissions]
    return visible.filter(pk__in=readable)


def join_group(space: Space, user: User, role: str, *, personal: bool) -> None:
    """The user has this role in the space and no other, and no audit entry says so."""
    leave_groups(space, user)
    user.groups.add(role_group(space, role))
    if personal and not roles.sees_personal_data(role):
        assign_perm(roles.CODENAMES["space.pii"], user, space)


def leave_groups(space: Space, user: User) -> None:
    """The user has no role in the space, and no audit entry says so."""
    # By prefix: also the group of a role that this release no longer defines.
    user.groups.remove(*Group.objects.filter(user=user, name__startswith=roles.group_prefix(space.pk)))
    SpaceUserPermission.objects.filter(user=user, content_object=space).delete()


def _check_known(role: str) -> None:
    if role not in roles.SPACE_ROLES:
        raise NotPossible(f"There is no role “{role}” in a space; there are {', '.join(roles.SPACE_ROLES)}.")


def _write_permissions(space: Space, group: Group, wanted: frozenset[str]) -> None:
    granted = SpaceGroupPermission.objects.filter(group=group, content_object=space)
    present = set(granted.values_list("permission__codename", flat=True))
    # Only the difference: every grant to a member comes through here, and nearly always there is none.
    for codename in present - wanted:
        remove_perm(codename, group, space)
    if missing := wanted - present:
        # Together: guardian asks half a dozen questions for each.
        of_spaces = Permission.objects.filter(content_type=ContentType.objects.get_for_model(Space))
        same = {"workspace_id": space.workspace_id, "group": group, "content_object": space}
        SpaceGroupPermission.objects.bulk_create(
            [
                SpaceGroupPermission(**same, permission=permission)
                for permission in of_spaces.filter(codename__in=missing)
            ],
            ignore_conflicts=True,
        )


def check_may_grant(by: ActorLike, space: Space, role: str) -> None:
    """Raises NotPossible unless `by` owns the workspace and has every permission that the role gives."""
    _check_known(role)
    user = actor_of(by).user
    if user is None:
        return  # a command on the server
    # As it is now, not as the request found it: what they may do may have changed since.
    own = Membership.objects.filter(workspace=space.workspace_id, user=user).first()
    wanted = {"workspace.manage", *roles.SPACE_ROLES[role].permissions}
    if own is None or not all(own.may(permission, space) for permission in wanted):
        raise NotPossible("Only an owner of the workspace can give roles.")
