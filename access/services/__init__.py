"""All changes of workspaces, spaces, members, accounts, roles, invitations and tokens. Each leaves an audit entry."""

from access.services.accounts import end_session, note_sign_in, sessions_of, set_password
from access.services.audit import COMMAND, Actor, ActorLike, NotPossible, actor_of, address_of, audit
from access.services.first_owner import is_unowned, is_valid, make_first_owner, new_secret
from access.services.grants import grant, grants_of, revoke, role_group, spaces_of, sync_roles
from access.services.invitations import (
    INVITATION_DAYS,
    Invited,
    accept,
    find_invitation,
    invite,
    link_to_hand_over,
    resend,
    revoke_invitation,
)
from access.services.tokens import (
    create_profile_token,
    create_token,
    profile_tokens_of,
    revoke_profile_token,
    revoke_token,
    tokens_of,
)
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
    "address_of",
    "audit",
    "change_access",
    "change_role",
    "change_space",
    "create_profile_token",
    "create_space",
    "create_token",
    "create_workspace",
    "delete_space",
    "end_session",
    "find_invitation",
    "grant",
    "grants_of",
    "invite",
    "is_unowned",
    "is_valid",
    "link_to_hand_over",
    "make_first_owner",
    "new_secret",
    "note_sign_in",
    "profile_tokens_of",
    "remove_member",
    "resend",
    "revoke",
    "revoke_invitation",
    "revoke_profile_token",
    "revoke_token",
    "role_group",
    "sessions_of",
    "set_password",
    "spaces_of",
    "sync_roles",
    "tokens_of",
]
