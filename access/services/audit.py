"""The audit trail: who made a change, and the entry that it leaves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
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
    address: str = ""


COMMAND = Actor()

# Whatever an actor can be read from: services take it as `by`.
ActorLike = Actor | User | HttpRequest | Request


def address_of(request: HttpRequest | Request) -> str:
    """Where a request comes from: the nearest address that our own proxy, when there is one, has seen."""
    # Without a proxy of ours the header is the client's own word; of several addresses the last is the proxy's.
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.SECURE_COOKIES else ""
    return (forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", ""))[:45].replace("\0", "")


def actor_of(by: ActorLike) -> Actor:
    if isinstance(by, Actor):
        return by
    if isinstance(by, User):
        return Actor(by)
    user: Any = by.user
    # Only DRF's requests have `auth`; of a page it is the session that counts.
    token = getattr(by, "auth", None)
    return Actor(
        user if user and user.is_authenticated else None,
        token if isinstance(token, Token) else None,
        address_of(by),
    )


def audit(by: ActorLike, action: str, target: Any, **detail: Any) -> None:
    """An audit entry exists. target: a row of the workspace, or the workspace. detail: JSON without secrets."""
    actor = actor_of(by)
    workspace = target if isinstance(target, Workspace) else target.workspace
    AuditEntry.objects.create(
        workspace=workspace,
        actor=actor.user,
        token=actor.token,
        address=actor.address,
        action=action,
        # The id as text, not a foreign key: the entry outlives what it is about.
        target=getattr(target, "public_id", str(target.pk)),
        detail=detail,
    )


def forget(older: datetime) -> None:
    """Entries from before that moment are gone, but for those of the last 30 days: the database itself keeps them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_forget_audit(%s)", [older])
