"""Somebody's own account: a new password, and the sessions in which they are signed in."""

from datetime import datetime

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from access.models import Membership, SignedIn, Token, User
from access.services.audit import Actor, ActorLike, address_of, audit
from spaces.clock import clock


def set_password(user: User, password: str, *, by: ActorLike) -> None:
    """The password is new: every session ends, and no API token of the user works any more."""
    user.set_password(password)
    with transaction.atomic():
        user.save(update_fields=["password"])
        # Whoever has the old password may have used it: nothing that it opened stays open.
        sessions = SignedIn.objects.filter(user=user)
        Session.objects.filter(session_key__in=sessions.values("session")).delete()
        sessions.delete()
        tokens = Token.objects.filter(user=user, revoked_at=None).update(revoked_at=clock.now())
        _audit(user, "password.changed", by, tokens=tokens)


def note_sign_in(user: User, request: HttpRequest) -> None:
    """The session of this request is among those of the user."""
    if not request.session.session_key:  # somebody else was signed in: what was their session is gone
        request.session.create()
    address, agent = address_of(request), request.headers.get("User-Agent", "")[:200].replace("\0", "")
    SignedIn.objects.update_or_create(
        session=request.session.session_key,
        defaults={"user": user, "address": address, "agent": agent, "at": clock.now()},
    )
    _audit(user, "signed.in", Actor(user, address=address))


def sessions_of(user: User, now: datetime) -> "QuerySet[SignedIn]":
    """Those that have not ended, newest first."""
    # Django's table says which are alive, ours whose they are.
    live = Session.objects.filter(expire_date__gt=now).values("session_key")
    return SignedIn.objects.filter(user=user, session__in=live).order_by("-at")


def end_session(signed_in: SignedIn, *, by: ActorLike) -> None:
    """Whoever uses it has to sign in again."""
    with transaction.atomic():
        Session.objects.filter(session_key=signed_in.session).delete()
        signed_in.delete()
        _audit(signed_in.user, "session.ended", by, of=signed_in.address)


def _audit(user: User, action: str, by: ActorLike, **detail: object) -> None:
    """In each workspace of the user."""
    for membership in Membership.objects.filter(user=user).select_related("workspace"):
        audit(by, action, membership.workspace, user=user.email, **detail)
