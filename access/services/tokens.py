"""API tokens. The secret is shown once; the hash is stored."""

import secrets

from django.db import transaction
from django.db.models import QuerySet

from access.authentication import hashed
from access.models import Membership, Token, User
from access.services.audit import ActorLike, audit
from spaces.clock import clock
from spaces.models import Workspace


def create_token(workspace: Workspace, user: User, *, name: str, by: ActorLike) -> tuple[Token, str]:
    """A new token that acts for `user` in the workspace, and its secret, which cannot be read again."""
    # The prefix lets scanners for leaked secrets recognise it.
    secret = f"pat_{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        token = Token.objects.create(workspace=workspace, user=user, name=name, hash=hashed(secret))
        audit(by, "token.created", token, name=name)
    return token, secret


def revoke_token(token: Token, *, by: ActorLike) -> None:
    """The API refuses the token from now on."""
    with transaction.atomic():
        # Kept, not deleted: the audit trail names it. Revoked twice, the first time is when it ended.
        Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=clock.now())
        audit(by, "token.revoked", token, name=token.name)


def tokens_of(membership: Membership) -> "QuerySet[Token]":
    """The live tokens that a member can see and revoke: their own, or for an owner all of the workspace."""
    live = Token.objects.filter(workspace=membership.workspace_id, revoked_at=None).select_related("user")
    return live if membership.may("workspace.manage") else live.filter(user=membership.user_id)
