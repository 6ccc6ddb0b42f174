"""Reads of people and of what awaits them. None of them costs more queries when there are more rows."""

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import QuerySet

from access import roles
from access.models import AuditEntry, Invitation, Membership, User
from spaces.models import Space, Workspace


@dataclass(frozen=True)
class Grant:
    """A role in a space."""

    space: Space
    role: str

    @property
    def label(self) -> str:
        known = roles.SPACE_ROLES.get(self.role)
        return known.label if known else self.role


def members(workspace: Workspace) -> "QuerySet[Membership]":
    return Membership.objects.filter(workspace=workspace).select_related("user").order_by("id")


def grants_by_user(workspace: Workspace) -> dict[int, list[Grant]]:
    """Who has which roles in the spaces of a workspace. Two queries, and no row of another workspace."""
    known = {
        f"space:{space.pk}:{role}": Grant(space, role)
        for space in Space.objects.filter(workspace=workspace)
        for role in roles.SPACE_ROLES
    }
    grants: dict[int, list[Grant]] = defaultdict(list)
    held = User.groups.through.objects.filter(group__name__in=known).order_by("id")
    for user_id, name in held.values_list("user_id", "group__name"):
        grants[user_id].append(known[name])
    return grants


def workspaces_of(user: User) -> list[Membership]:
    """The user's memberships, with their workspaces, by name."""
    return list(Membership.objects.filter(user=user).select_related("workspace").order_by("workspace__name", "id"))


def pending(workspace: Workspace) -> "QuerySet[Invitation]":
    """Invitations that were neither accepted nor revoked; expired ones are among them, to be sent again."""
    return Invitation.objects.filter(workspace=workspace, accepted_at=None, revoked_at=None)


def given_by(workspace: Workspace, user: User) -> dict[str, AuditEntry]:
    """By the public id of a space: the newest entry of the trail by which this user came to a role there. One query."""
    given = AuditEntry.objects.filter(workspace=workspace, action="grant.given", detail__user=user.email)
    return {entry.target: entry for entry in given.select_related("actor").order_by("id")}
