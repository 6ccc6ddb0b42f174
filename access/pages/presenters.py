"""What the pages about people show: permissions and where they come from, roles in spaces, and invitations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.timezone import localtime

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
    """A permission that a member has or has not. origins: the roles that give it, as text."""

    label: str
    origins: Sequence[str]

    @property
    def granted(self) -> bool:
        return bool(self.origins)


def rights_in_workspace(membership: Membership, grants: Sequence[tuple[Space, str]]) -> list[Right]:
    """Each permission of the workspace, given by the role there or implied by a role in a space."""
    rights = []
    for permission, about in roles.WORKSPACE_PERMISSIONS.items():
        implied = [
            f"{Grant(space, role).label} in {space.name}"
            for space, role in grants
            if roles.implied_by(permission, role)
        ]
        rights.append(Right(about, [*roles.origins(permission, workspace_role=membership.role), *implied]))
    return rights


def rights_in_spaces(membership: Membership, grants: Sequence[tuple[Space, str]]) -> list[dict[str, Any]]:
    """For each space that the member can see: each permission of a space, with the roles that give it."""
    roles_by_space = {space.pk: role for space, role in grants}
    rows = []
    for space in services.spaces_of(membership).order_by("kind", "name", "id"):
        rights = []
        for permission, about in roles.SPACE_PERMISSIONS.items():
            role = roles_by_space.get(space.pk, "")
            origins = roles.origins(permission, workspace_role=membership.role, space_role=role)
            # guardian can also grant a permission to a user directly, without a role.
            direct = not origins and membership.may(permission, space)
            rights.append(Right(about, ["A grant of its own"] if direct else origins))
        rows.append({"space": space, "rights": rights})
    return rows


def people(workspace: Workspace, members: Iterable[Membership]) -> list[dict[str, Any]]:
    """Each member with their roles in spaces. Two more queries, however many members there are."""
    grants = queries.grants_by_user(workspace)
    return [
        {
            "member": member,
            "name": str(member.user),
            "initial": str(member.user)[:1].upper(),
            "owner": member.role == roles.OWNER,
            "grants": sorted(grants.get(member.user_id, []), key=lambda grant: grant.space.name),
            "url": reverse("access-person", args=[workspace.slug, member.user.public_id]),
        }
        for member in members
    ]


def csv_header(spaces: Sequence[Space]) -> list[str]:
    return ["Name", "E-mail", "Workspace role", *(space.name for space in spaces)]


def csv_rows(spaces: Sequence[Space], rows: Iterable[dict[str, Any]]) -> Iterable[list[str]]:
    """A line for each of the `people`, with a column for each space."""
    for row in rows:
        labels = {grant.space.pk: grant.label for grant in row["grants"]}
        # An owner may do everything everywhere, whatever roles in spaces they have from before.
        everywhere = roles.WORKSPACE_ROLES[roles.OWNER].label if row["owner"] else ""
        cells = [everywhere or labels.get(space.pk, "") for space in spaces]
        yield [row["member"].user.name, row["member"].user.email, row["member"].get_role_display(), *cells]


def invitations(workspace: Workspace, pending: Sequence[Invitation]) -> list[dict[str, Any]]:
    """Each invitation with the roles it will give, and whether its link still works."""
    # Spaces that were deleted since are left out.
    spaces = {space.public_id: space for space in Space.objects.filter(workspace=workspace)}
    now = clock.now()  # outside the loop: it asks the database
    return [
        {
            "invitation": invitation,
            "owner": invitation.role == roles.OWNER,
            "grants": [
                Grant(spaces[row["space"]], row["role"], row.get("personal", False))
                for row in invitation.grants
                if row["space"] in spaces
            ],
            "state": Pill("Expired", "warn") if invitation.expires_at <= now else Pill("Pending", "busy"),
        }
        for invitation in pending
    ]


def origins_in_spaces(member: Membership) -> dict[str, str]:
    """How the member got each role in a space, as text, by the public id of the space."""
    entries = queries.grant_entries(member.workspace, member.user)
    origins = {}
    for space, _ in services.grants_of(member):
        # Roles that came with the invitation have no entry of their own: the invitation has one.
        entry = entries.get(space.public_id)
        who = f"{entry.actor or 'a command'} on {localtime(entry.at):%-d %B %Y}" if entry else "the invitation"
        origins[space.public_id] = f"given by {who}"
    return origins
