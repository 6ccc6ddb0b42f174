"""Queries about members, roles and invitations. None needs more statements when there are more rows."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import QuerySet

from access import roles
from access.models import AuditEntry, Invitation, Membership, SpaceUserPermission, User
from spaces.models import Space, Workspace


@dataclass(frozen=True)
class Grant:
    """A role in a space. personal: with the right to see personal data, of the role or of its own."""

    space: Space
    role: str
    personal: bool = False

    @property
    def label(self) -> str:
        return roles.SPACE_ROLES[self.role].label


def page_after(rows: "QuerySet[Any]", *, order: str, after: Any, count: int) -> tuple[list[Any], Any]:
    """The next `count` rows, and the place of the last one; None when there are no more.

    order: a column of unique values, such as `-id` for newest first. after: a value of it; None = from the start. One
    query, never an offset: nothing is shown twice or left out when rows come or go meanwhile. Raises ValueError or
    TypeError for what is no value of the column.
    """
    column, side = order.removeprefix("-"), "lt" if order.startswith("-") else "gt"
    rest = rows if after is None else rows.filter(**{f"{column}__{side}": after})
    # One row more than is shown tells whether there is a next page.
    page = list(rest.order_by(order)[: count + 1])
    return page[:count], getattr(page[count - 1], column) if len(page) > count else None


def members(workspace: Workspace) -> "QuerySet[Membership]":
    return Membership.objects.filter(workspace=workspace).select_related("user").order_by("id")


def grants_by_group(workspace_id: int) -> dict[str, Grant]:
    """Every role that there is in the spaces of a workspace, by the name of its group. One query."""
    # Whole names: a pattern could match a group of another workspace.
    return {
        roles.group_name(space.pk, role): Grant(space, role, roles.sees_personal_data(role))
        for space in Space.objects.filter(workspace=workspace_id).order_by("id")
        for role in roles.SPACE_ROLES
    }


def grants_by_user(workspace: Workspace) -> dict[int, list[Grant]]:
    """The roles of each user in the spaces of a workspace, by the user's primary key. Three queries."""
    by_group = grants_by_group(workspace.pk)
    grants: dict[int, list[Grant]] = defaultdict(list)
    group_members = User.groups.through.objects.filter(group__name__in=by_group).order_by("id")
    own = set(_own_rights(workspace.pk).values_list("user", "content_object"))
    for user_id, name in group_members.values_list("user_id", "group__name"):
        grant = by_group[name]
        grants[user_id].append(replace(grant, personal=True) if (user_id, grant.space.pk) in own else grant)
    return grants


def open_to(membership: Membership) -> set[int]:
    """The spaces in which the member was given the right to see personal data by itself."""
    return set(
        _own_rights(membership.workspace_id).filter(user=membership.user_id).values_list("content_object", flat=True)
    )


def _own_rights(workspace_id: int) -> "QuerySet[SpaceUserPermission]":
    personal = roles.CODENAMES["space.pii"]
    return SpaceUserPermission.objects.filter(workspace=workspace_id, permission__codename=personal)


def workspaces_of(user: User) -> list[Membership]:
    """The user's memberships, with their workspaces, by name."""
    return list(Membership.objects.filter(user=user).select_related("workspace").order_by("workspace__name", "id"))


def pending(workspace: Workspace) -> "QuerySet[Invitation]":
    """Invitations that were neither accepted nor revoked, expired ones included: these can be sent again."""
    unanswered = Invitation.objects.filter(workspace=workspace, accepted_at=None, revoked_at=None)
    return unanswered.select_related("invited_by")


def audit_trail(workspace: Workspace) -> "QuerySet[AuditEntry]":
    return AuditEntry.objects.filter(workspace=workspace).select_related("actor", "token")


def grant_entries(workspace: Workspace, user: User) -> dict[str, AuditEntry]:
    """The audit entry of the last role that this user was given in each space, by the public id of the space."""
    entries = AuditEntry.objects.filter(workspace=workspace, action="grant.given", detail__user=user.email)
    # In the order of ids, so that the newest entry of a space replaces the older ones.
    return {entry.target: entry for entry in entries.select_related("actor").order_by("id")}
