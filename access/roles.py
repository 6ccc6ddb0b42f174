"""Roles and their permissions. PURE. To add a role, add an entry here and run `manage.py sync_roles`.

Permissions of a space are granted through guardian, one codename each; those of the workspace follow from the
workspace role, or from a permission in any of its spaces.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WORKSPACE_PERMISSIONS = {
    "workspace.read": "See the workspace and the spaces they have a role in",
    "workspace.manage": "Create spaces, invite people, give roles",
    "sources.read": "See sources and what they received",
    "sources.edit": "Create and change sources, see and change write keys",
}
SPACE_PERMISSIONS = {
    "space.read": "See everything in the space but personal data",
    "space.use": "Build audiences and traits",
    "space.admin": "Change settings, sources and destinations of the space",
    "space.pii": "See names, e-mail addresses and telephone numbers, and download people",
}
PERMISSIONS = WORKSPACE_PERMISSIONS | SPACE_PERMISSIONS
CODENAMES = {permission: f"{permission.partition('.')[2]}_space" for permission in SPACE_PERMISSIONS}

# Permissions of the workspace that come with one in any space: whoever connects a source must be able to see it.
IMPLIED = {"space.admin": frozenset({"sources.read"})}

OWNER, MEMBER = "owner", "member"


@dataclass(frozen=True)
class Role:
    """A named set of permissions. `key` is stored and never renamed."""

    key: str
    label: str
    about: str
    permissions: frozenset[str]


# Stored in memberships and invitations by key.
WORKSPACE_ROLES = {
    role.key: role
    for role in (
        Role(OWNER, "Workspace Owner", "Everything, in every space", frozenset(PERMISSIONS)),
        Role(MEMBER, "Workspace Member", "Nothing but what roles in spaces add", frozenset({"workspace.read"})),
    )
}
# Stored in the names of groups by key: see `group_name`.
SPACE_ROLES = {
    role.key: role
    for role in (
        Role("admin", "Personas Admin", "Everything in the space", frozenset(SPACE_PERMISSIONS)),
        Role("user", "Personas User", "Audiences and traits", frozenset({"space.read", "space.use"})),
        Role("read_only", "Personas Read-only", "Look, change nothing", frozenset({"space.read"})),
    )
}


def sees_personal_data(role: str) -> bool:
    """Whether this role in a space lets its holder see personal data; the others may be given that right by itself."""
    return "space.pii" in SPACE_ROLES[role].permissions


def meaning(role: Role) -> str:
    """What the role allows, as text: its permissions, and those of the workspace that these imply."""
    allowed = role.permissions.union(*(IMPLIED.get(permission, ()) for permission in role.permissions))
    # In the order of PERMISSIONS, whatever the order of the set.
    first, *others = [about for permission, about in (SPACE_PERMISSIONS | PERMISSIONS).items() if permission in allowed]
    return "; ".join([first, *(about[:1].lower() + about[1:] for about in others)])


def workspace_choices() -> list[tuple[str, str]]:
    return [(role.key, role.label) for role in WORKSPACE_ROLES.values()]


def group_prefix(space: int) -> str:
    """The start of the names of all role groups of the space with this primary key."""
    # The last colon keeps space 1 apart from space 12.
    return f"space:{space}:"


def group_name(space: int, role: str) -> str:
    """The name of the group of a role in a space. Names are compared as a whole and never taken apart."""
    return f"{group_prefix(space)}{role}"


def codenames(role: str) -> frozenset[str]:
    """The guardian codenames that this role in a space grants."""
    return frozenset(CODENAMES[permission] for permission in SPACE_ROLES[role].permissions)


def from_codenames(names: Iterable[str]) -> frozenset[str]:
    """The permissions with these guardian codenames. A name that is no longer defined is ignored."""
    known = {codename: permission for permission, codename in CODENAMES.items()}
    return frozenset(known[name] for name in names if name in known)


def allows(
    permission: str, *, workspace_role: str, granted: Mapping[int, frozenset[str]], space: int | None = None
) -> bool:
    """Whether a member with this workspace role and these grants (space -> permissions) has the permission.

    A permission of a space needs the space: without one the result is False, for owners too.
    """
    role = WORKSPACE_ROLES.get(workspace_role)
    if role is None or permission not in PERMISSIONS:
        return False
    if permission in SPACE_PERMISSIONS:
        return space is not None and (permission in role.permissions or permission in granted.get(space, ()))
    return permission in role.permissions or any(
        permission in IMPLIED.get(other, ()) for permissions in granted.values() for other in permissions
    )


def origins(permission: str, *, workspace_role: str, space_role: str = "") -> list[str]:
    """The labels of those of the two roles that include the permission; empty if neither does."""
    both = (WORKSPACE_ROLES.get(workspace_role), SPACE_ROLES.get(space_role))
    return [role.label for role in both if role and permission in role.permissions]


def implied_by(permission: str, space_role: str) -> bool:
    """Whether this role in any space implies the permission of the workspace."""
    role = SPACE_ROLES.get(space_role)
    return bool(role and any(permission in IMPLIED.get(other, ()) for other in role.permissions))
