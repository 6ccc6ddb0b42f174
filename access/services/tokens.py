"""Tokens of the API, and of Profile APIs. The secret is shown once; the hash is stored."""

import secrets

from django.db import transaction
from django.db.models import QuerySet

from access.authentication import forget_space_readers, hashed
from access.models import Membership, ProfileToken, Token, User
from access.services.audit import ActorLike, actor_of, audit
from spaces.clock import clock
from spaces.models import Space, Workspace


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


def create_profile_token(space: Space, *, name: str, by: ActorLike) -> tuple[ProfileToken, str]:
    """A new token of the space's Profile API, and its secret, which cannot be read again."""
    secret = f"prf_{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        token = ProfileToken.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            name=name,
            hash=hashed(secret),
            created_by=actor_of(by).user,
        )
        audit(by, "profile_token.created", token, name=name, space=space.public_id)
    return token, secret


def revoke_profile_token(token: ProfileToken, *, by: ActorLike) -> None:
    """The Profile API refuses the token from now on: other processes within three seconds."""
    with transaction.atomic():
        # It does not belong to whoever made it: a program goes on when its author has left, until somebody revokes it.
        ProfileToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=clock.now())
        audit(by, "profile_token.revoked", token, name=token.name, space=token.space.public_id)
    forget_space_readers()


def profile_tokens_of(space: Space) -> "QuerySet[ProfileToken]":
    """The live tokens of the space's Profile API."""
    return ProfileToken.objects.filter(space=space, revoked_at=None).select_related("created_by", "space")
