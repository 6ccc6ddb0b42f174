"""The audit trail: who made a change, and the entry that it leaves."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request

from access.models import AuditEntry, Token, User
from spaces.models import Workspace


class NotPossible(Exception):
    """The change cannot be made. The message is meant for the user who asked for it."""


@dataclass(frozen=True)
class Actor:
    """Who makes a change, and with which token. Without a user it is a command on the server."""

    user: User | None = None
    token: Token | None = None


COMMAND = Actor()

# Whatever an actor can be read from: services take it as `by`.
ActorLike = Actor | User | HttpRequest | Request


def actor_of(by: ActorLike) -> Actor:
    if isinstance(by, Actor):
        return by
    if isinstance(by, User):
        return Actor(by)
    user: Any = by.user
    # Only DRF's requests have `auth`; of a page it is the session that counts.
    token = getattr(by, "auth", None)
    return Actor(user if user and user.is_authenticated else None, token if isinstance(token, Token) else None)


def audit(by: ActorLike, action: str, target: Any, **detail: Any) -> None:
    """An audit entry exists. target: a row of the workspace, or the workspace. detail: JSON without secrets."""
    actor = actor_of(by)
    workspace = target if isinstance(target, Workspace) else target.workspace
    AuditEntry.objects.create(
        workspace=workspace,
        actor=actor.user,
        token=actor.token,
        action=action,
        # The id as text, not a foreign key: the entry outlives what it is about.
        target=getattr(target, "public_id", str(target.pk)),
        detail=detail,
    )
