"""All changes of workspaces, spaces, members, roles, invitations and tokens. Each leaves an audit entry."""

from access.services.audit import COMMAND, Actor, ActorLike, NotPossible, actor_of, audit
from access.services.grants import grant, grants_of, revoke, role_group, spaces_of, sync_roles
from access.services.invitations import (
    INVITATION_DAYS,
    Invited,
    accept,
    find_invitation,
    invite,
    resend,
    revoke_invitation,
)
from access.services.tokens import create_token, revoke_token, tokens_of
from access.services.workspaces import (
    change_access,
    change_role,
    change_space,
    create_space,
    create_workspace,
    delete_space,
    remove_member,
)

__all__ = [
    "COMMAND",
    "INVITATION_DAYS",
    "Actor",
    "ActorLike",
    "Invited",
    "NotPossible",
    "accept",
    "actor_of",
    "audit",
    "change_access",
    "change_role",
    "change_space",
    "create_space",
    "create_token",
    "create_workspace",
    "delete_space",
    "find_invitation",
    "grant",
    "grants_of",
    "invite",
    "remove_member",
    "resend",
    "revoke",
    "revoke_invitation",
    "revoke_token",
    "role_group",
    "spaces_of",
    "sync_roles",
    "tokens_of",
]
