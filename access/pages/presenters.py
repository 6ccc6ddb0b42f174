"""What the pages about people show: rights and where these come from, roles in spaces, and who was asked to join."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from access import queries, roles, services
from access.models import Invitation, Membership
from access.pages.tables import Column, Pill
from access.queries import Grant
from spaces.clock import clock
from spaces.models import Space, Workspace

COLUMNS = (
    Column("name", "Person", "user__name"),
    Column("email", "E-mail", "user__email"),
    Column("role", "Workspace role", "role"),
    Column("spaces", "Roles in spaces"),
    Column("joined", "Joined", "created_at"),
)
SEARCH = ("user__name", "user__email")


@dataclass(frozen=True)
class Right:
    """A permission as a person has it, or has not. origins: the roles that give it, in words."""

    label: str
    origins: Sequence[str]

    @property
    def held(self) -> bool:
        return bool(self.origins)


def rights_in_workspace(membership: Membership, grants: Sequence[tuple[Space, str]]) -> list[Right]:
    """Each permission of the workspace: held by the role there, or brought along by a role in a space."""
    return [
        Right(about, [*roles.origins(permission, workspace_role=membership.role), *_implied(permission, grants)])
        for permission, about in roles.WORKSPACE_PERMISSIONS.items()
    ]


def rights_in_spaces(membership: Membership, grants: Sequence[tuple[Space, str]]) -> list[dict[str, Any]]:
    """For each space one can see: each permission of a space, with the roles that give it."""
    held = {space.pk: role for space, role in grants}
    return [
        {"space": space, "rights": _rights(membership, space, held.get(space.pk, ""))}
        for space in services.spaces_of(membership).order_by("kind", "name", "id")
    ]


def _rights(membership: Membership, space: Space, role: str) -> list[Right]:
    found = []
    for permission, about in roles.SPACE_PERMISSIONS.items():
        given = roles.origins(permission, workspace_role=membership.role, space_role=role)
        direct = not given and membership.may(permission, space)  # guardian knows grants without a role, too
        found.append(Right(about, ["A grant of its own"] if direct else given))
    return found


def _implied(permission: str, grants: Sequence[tuple[Space, str]]) -> list[str]:
    return [
        f"{Grant(space, role).label} in {space.name}" for space, role in grants if roles.implied_by(permission, role)
    ]


def people(workspace: Workspace, members: Iterable[Membership]) -> list[dict[str, Any]]:
    """Each with their roles in spaces; two queries more, however many they are."""
    grants = queries.grants_by_user(workspace)
    return [
        {
            "member": member,
            "name": str(member.user),
            "initial": str(member.user)[:1].upper(),
            "owner": member.role == roles.OWNER,
            "grants": sorted(grants.get(member.user_id, []), key=lambda given: given.space.name),
            "url": reverse("access-person", args=[workspace.slug, member.user.public_id]),
        }
        for member in members
    ]


def csv_header(spaces: Sequence[Space]) -> list[str]:
    return ["Name", "E-mail", "Workspace role", *(space.name for space in spaces)]


def csv_rows(spaces: Sequence[Space], found: Iterable[dict[str, Any]]) -> Iterable[list[str]]:
    """A column for each space. An owner may do everything everywhere, whatever roles they hold there."""
    for row in found:
        held = {given.space.pk: given.label for given in row["grants"]}
        everywhere = roles.WORKSPACE_ROLES[roles.OWNER].label if row["owner"] else ""
        cells = [everywhere or held.get(space.pk, "") for space in spaces]
        yield [row["member"].user.name, row["member"].user.email, row["member"].get_role_display(), *cells]


def invitations(workspace: Workspace, found: Sequence[Invitation]) -> list[dict[str, Any]]:
    """Each with the roles it will give, and whether its link still works."""
    spaces = {space.public_id: space for space in Space.objects.filter(workspace=workspace)}
    now = clock.now()  # the database's: asked once, not for each
    return [
        {
            "invitation": each,
            "owner": each.role == roles.OWNER,
            "grants": [Grant(spaces[row["space"]], row["role"]) for row in each.grants if row["space"] in spaces],
            "state": Pill("Expired", "warn") if each.expires_at <= now else Pill("Pending", "busy"),
        }
        for each in found
    ]


def origins_in_spaces(member: Membership) -> dict[str, str]:
    """By the public id of a space: how the person came to the role there, in words."""
    entries = queries.given_by(member.workspace, member.user)
    found = {}
    for space, _ in services.grants_of(member):
        entry = entries.get(space.public_id)
        found[space.public_id] = (
            f"given by {entry.actor or 'a command'} on {entry.at:%-d %B %Y}" if entry else "given by the invitation"
        )
    return found
