"""Who did it: the actor of a change, and the entry it leaves."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request

from access.models import AuditEntry, Token, User
from spaces.models import Workspace


class NotPossible(Exception):
    """What was asked for cannot be done; the message is for whoever asked."""


@dataclass(frozen=True)
class Actor:
    """Who does something, and with which token; nobody = a command on the server."""

    user: User | None = None
    token: Token | None = None


COMMAND = Actor()

# Whatever can say who acts.
ActorLike = Actor | User | HttpRequest | Request


def actor_of(who: ActorLike) -> Actor:
    if isinstance(who, Actor):
        return who
    if isinstance(who, User):
        return Actor(who)
    user: Any = who.user
    token = getattr(who, "auth", None)
    return Actor(user if user and user.is_authenticated else None, token if isinstance(token, Token) else None)


def audit(who: ActorLike, action: str, target: Any, **detail: Any) -> None:
    """The change is on record. `target` is a row of the workspace; `detail` is JSON and holds no secret."""
    actor = actor_of(who)
    workspace = target if isinstance(target, Workspace) else target.workspace
    AuditEntry.objects.create(
        workspace=workspace,
        actor=actor.user,
        token=actor.token,
        action=action,
        target=getattr(target, "public_id", str(target.pk)),
        detail=detail,
    )
