"""Workspaces, their spaces and their members."""

from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction

from access import queries, roles
from access.models import Membership, Token, User
from access.services.audit import COMMAND, ActorLike, NotPossible, audit
from access.services.grants import grant, grants_of, leave_groups, revoke
from spaces import services as spaces
from spaces.clock import clock
from spaces.models import Space, Workspace


def create_workspace(name: str, *, owner: User, by: ActorLike = COMMAND) -> Workspace:
    """A new workspace with `owner` as its owner."""
    with transaction.atomic():
        workspace = spaces.create_workspace(name)
        Membership.objects.create(workspace=workspace, user=owner, role=roles.OWNER)
        audit(by, "workspace.created", workspace, name=name, owner=owner.email)
    return workspace


def create_space(workspace: Workspace, *, name: str, kind: str, by: ActorLike) -> Space:
    with transaction.atomic():
        space = spaces.create_space(workspace, name=name, kind=kind)
        audit(by, "space.created", space, name=name, kind=kind)
    return space


def change_space(space: Space, *, by: ActorLike, **changes: Any) -> Space:
    """The named fields have new values. The slug never changes, so links to the space go on working."""
    # Read before the change, for the audit entry.
    before = {name: getattr(space, name) for name in changes}
    for name, value in changes.items():
        setattr(space, name, value)
    with transaction.atomic():
        space.save(update_fields=list(changes))
        audit(by, "space.changed", space, before=before, after=changes)
    return space


def delete_space(space: Space, *, by: ActorLike) -> None:
    with transaction.atomic():
        audit(by, "space.deleted", space, name=space.name)
        # Groups belong to no space by foreign key: they would stay behind.
        Group.objects.filter(name__startswith=roles.group_prefix(space.pk)).delete()
        spaces.delete_space(space)


def change_role(membership: Membership, role: str, *, by: ActorLike) -> None:
    """The member has this role in the workspace. Raises NotPossible when no owner would be left."""
    with transaction.atomic():
        if role != roles.OWNER:
            _check_other_owner(membership)
        Membership.objects.filter(pk=membership.pk).update(role=role)
        audit(by, "member.role", membership.workspace, user=membership.user.email, before=membership.role, after=role)
    membership.role = role


def change_access(
    membership: Membership,
    *,
    role: str,
    in_spaces: Mapping[Space, str],
    personal: Collection[Space] = (),
    by: ActorLike,
) -> None:
    """The member has this role in the workspace, and in each space of `in_spaces` that role, or none where it is "".

    personal: those of them where the member sees personal data, whatever the role. Spaces that are not in it stay as
    they are. Nothing changes when a part of it is not possible.
    """
    with transaction.atomic():
        present = dict(grants_of(membership))
        open_spaces = queries.open_to(membership)
        for space, wanted in in_spaces.items():
            sees = space in personal and not roles.sees_personal_data(wanted or "user")
            if wanted and (wanted != present.get(space) or sees != (space.pk in open_spaces)):
                grant(space, membership.user, wanted, personal=sees, by=by)
            elif not wanted and space in present:
                revoke(space, membership.user, by=by)
        # Last: an owner who gives up ownership gives up the right to give roles.
        if role != membership.role:
            change_role(membership, role, by=by)


def remove_member(membership: Membership, *, by: ActorLike) -> None:
    """The user is no longer in the workspace: no roles and no tokens, and the invitations they sent stop working."""
    workspace, user = membership.workspace, membership.user
    with transaction.atomic():
        _check_other_owner(membership)
        # Groups and grants belong to the user, not to the membership: they would outlive it.
        for space in Space.objects.filter(workspace=workspace):
            leave_groups(space, user)
        Token.objects.filter(workspace=workspace, user=user, revoked_at=None).update(revoked_at=clock.now())
        membership.delete()
        audit(by, "member.removed", workspace, user=user.email)


def _check_other_owner(membership: Membership) -> None:
    """Raises NotPossible when this member is the only owner of the workspace."""
    # Locked, in the same order for everybody: of two owners who leave at the same moment the second one is refused.
    owners = Membership.objects.select_for_update().filter(workspace=membership.workspace_id, role=roles.OWNER)
    if [owner.pk for owner in owners.order_by("pk")] == [membership.pk]:
        raise NotPossible("A workspace needs an owner, and this is the only one. Make someone else an owner first.")
