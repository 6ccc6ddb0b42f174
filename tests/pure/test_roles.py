"""Who may do what, as a table."""

import pytest

from access import roles

ADMIN, USER, READ_ONLY = ({7: roles.SPACE_ROLES[key].permissions} for key in ("admin", "user", "read_only"))
NONE: dict[int, frozenset[str]] = {}


@pytest.mark.parametrize("permission", sorted(roles.WORKSPACE_PERMISSIONS))
def test_an_owner_has_every_permission_of_the_workspace(permission):
    assert roles.allows(permission, workspace_role="owner", granted=NONE)


@pytest.mark.parametrize("permission", sorted(roles.SPACE_PERMISSIONS))
def test_an_owner_has_every_permission_in_every_space(permission):
    assert roles.allows(permission, workspace_role="owner", granted=NONE, space=1)


@pytest.mark.parametrize("permission", sorted(roles.SPACE_PERMISSIONS))
def test_a_permission_of_a_space_means_nothing_without_the_space(permission):
    assert not roles.allows(permission, workspace_role="owner", granted=NONE)
    assert not roles.allows(permission, workspace_role="member", granted=ADMIN)


@pytest.mark.parametrize(
    ("granted", "may"),
    [
        (NONE, {"workspace.read"}),
        (READ_ONLY, {"workspace.read", "space.read"}),
        (USER, {"workspace.read", "space.read", "space.use"}),
        (ADMIN, {"workspace.read", "sources.read", "space.read", "space.use", "space.admin", "space.pii"}),
    ],
)
def test_a_member_has_what_the_role_in_the_space_adds(granted, may):
    held = {p for p in roles.PERMISSIONS if roles.allows(p, workspace_role="member", granted=granted, space=7)}
    assert held == may


def test_a_role_in_one_space_opens_no_other():
    assert not roles.allows("space.read", workspace_role="member", granted=ADMIN, space=8)


def test_an_unknown_role_or_permission_allows_nothing():
    assert not roles.allows("workspace.read", workspace_role="emperor", granted=ADMIN)
    assert not roles.allows("space.fly", workspace_role="owner", granted=NONE, space=7)


def test_every_role_holds_known_permissions_and_those_of_a_space_have_a_name_for_guardian():
    for role in (roles.WORKSPACE_ROLES | roles.SPACE_ROLES).values():
        assert role.permissions <= set(roles.PERMISSIONS)
    for role in roles.SPACE_ROLES.values():
        assert roles.from_codenames(roles.codenames(role.key)) == role.permissions


def test_a_name_that_is_no_longer_known_grants_nothing():
    assert roles.from_codenames(["read_space", "fly_space"]) == {"space.read"}
