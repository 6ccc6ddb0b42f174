"""Invitations: an e-mail with a link that works once, for seven days, and never signs anybody in to an account."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.mail import send_mail
from django.db import transaction
from django.urls import reverse

from access import roles
from access.authentication import hashed
from access.models import Invitation, Membership, User
from access.services.audit import ActorLike, NotPossible, actor_of, audit
from access.services.grants import check_may_grant, join_group
from spaces.clock import clock
from spaces.models import Space, Workspace

INVITATION_DAYS = 7


@dataclass(frozen=True)
class Invited:
    """Whom to invite. grants: (space, role) pairs. personal: where they see personal data, whatever the role."""

    email: str
    role: str = roles.MEMBER
    grants: Sequence[tuple[Space, str]] = ()
    personal: Collection[Space] = ()


def invite(workspace: Workspace, people: Sequence[Invited], *, by: ActorLike, origin: str) -> list[Invitation]:
    """All of them are invited, or none: each is sent a link that works once, for seven days.

    origin: scheme and host of the console, for the link. Older invitations of the same address are revoked.
    Raises NotPossible for someone who is in the workspace already, or for a role that `by` may not give.
    """
    for person in people:  # all of them, before the first is invited
        _check_may_invite(workspace, person, by)
    links = []
    with transaction.atomic():
        for person in people:
            now, secret = clock.now(), secrets.token_urlsafe(32)
            older = Invitation.objects.filter(workspace=workspace, email__iexact=person.email)
            older.filter(accepted_at=None, revoked_at=None).update(revoked_at=now)
            invitation = Invitation.objects.create(
                workspace=workspace,
                email=person.email.lower(),
                role=person.role,
                grants=[
                    {"space": space.public_id, "role": role, "personal": space in person.personal}
                    for space, role in person.grants
                ],
                token_hash=hashed(secret),
                invited_by=actor_of(by).user,
                expires_at=now + timedelta(days=INVITATION_DAYS),
            )
            audit(by, "invitation.sent", invitation, email=person.email, role=person.role, grants=invitation.grants)
            links.append((invitation, secret))
    # After the commit: a link that arrives before its row exists would not work, and one without a row never would.
    failed = []
    for invitation, secret in links:
        try:
            _send_link(invitation, secret, origin)
        except OSError as error:  # what smtplib raises is one, too
            revoke_invitation(invitation, by=by)  # nobody waits for what they never heard of
            failed.append(f"{invitation.email} ({error})")
    if failed:
        others = " The others were." if len(failed) < len(links) else ""
        raise NotPossible(f"Not invited, since the mail could not be sent: {'; '.join(failed)}.{others}")
    return [invitation for invitation, _ in links]


def resend(invitation: Invitation, *, by: ActorLike, origin: str) -> None:
    """A new link is sent, valid for seven days from now; the old one no longer works."""
    secret = _renew(invitation, "invitation.resent", by)  # committed before the mail: see `invite`
    try:
        _send_link(invitation, secret, origin)
    except OSError as error:
        raise NotPossible(f"The mail to {invitation.email} could not be sent: {error}.") from error


def link_to_hand_over(invitation: Invitation, *, by: ActorLike, origin: str) -> str:
    """A new link, valid for seven days from now, which whoever asked gives to the person; the old one does not work."""
    return _link(_renew(invitation, "invitation.copied", by), origin)


def _renew(invitation: Invitation, action: str, by: ActorLike) -> str:
    """The secret of a new link."""
    _check_pending(invitation)
    secret = secrets.token_urlsafe(32)
    invitation.token_hash = hashed(secret)
    invitation.expires_at = clock.now() + timedelta(days=INVITATION_DAYS)
    with transaction.atomic():
        invitation.save(update_fields=["token_hash", "expires_at"])
        audit(by, action, invitation, email=invitation.email)
    return secret


def revoke_invitation(invitation: Invitation, *, by: ActorLike) -> None:
    """The link no longer works."""
    _check_pending(invitation)
    with transaction.atomic():
        Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(revoked_at=clock.now())
        audit(by, "invitation.revoked", invitation, email=invitation.email)


def find_invitation(secret: str) -> Invitation | None:
    """The invitation with this secret, if its link works."""
    pending = Invitation.objects.select_related("workspace", "invited_by").filter(accepted_at=None, revoked_at=None)
    invitation = pending.filter(token_hash=hashed(secret), expires_at__gt=clock.now()).first()
    if invitation is None:
        return None
    # An invitation is worth what its inviter may still do: someone who was removed leaves no way back in. Without an
    # inviter it was sent by a command on the server.
    inviter = invitation.invited_by
    return invitation if inviter is None or _manages(invitation.workspace_id, inviter) else None


def accept(secret: str, *, user: User | None = None, name: str = "", password: str = "") -> User:
    """The invited person is in the workspace with the roles of the invitation; the link no longer works.

    Somebody who has an account already must be signed in as `user`: a link alone never opens an account
    or changes a password. Raises NotPossible, or ValidationError for a weak password.
    """
    with transaction.atomic():
        invitation = find_invitation(secret)
        # The conditions once more in the UPDATE: of two people who use the link at the same moment one gets in.
        claimed = invitation and Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None).update(
            accepted_at=clock.now()
        )
        if invitation is None or not claimed:
            raise NotPossible("This link has been used, was revoked or has expired. Ask for a new invitation.")
        if user is not None and user.email.lower() != invitation.email.lower():
            raise NotPossible(f"This invitation is for {invitation.email}. Sign out and use the link again.")
        if user is None and User.objects.filter(email__iexact=invitation.email).exists():
            raise NotPossible(f"There is an account for {invitation.email}. Sign in, then use the link again.")
        if user is None:
            validate_password(password, User(email=invitation.email, name=name))
        member = user or User.objects.create_user(invitation.email, password, name)
        Membership.objects.get_or_create(
            workspace=invitation.workspace, user=member, defaults={"role": invitation.role}
        )
        # Spaces and roles may have been deleted since the invitation was sent. The roles are as old as it: somebody who
        # was in the workspace in the meantime keeps the role there that they have now (`get_or_create`).
        wanted = {row["space"]: row for row in invitation.grants if row["role"] in roles.SPACE_ROLES}
        for space in Space.objects.filter(workspace=invitation.workspace_id, public_id__in=wanted):
            row = wanted[space.public_id]
            join_group(space, member, row["role"], personal=row.get("personal", False))
        audit(member, "invitation.accepted", invitation, email=invitation.email, role=invitation.role)
    return member


def _check_may_invite(workspace: Workspace, person: Invited, by: ActorLike) -> None:
    if person.role not in roles.WORKSPACE_ROLES:
        raise NotPossible(f"There is no role “{person.role}” in a workspace.")
    inviter = actor_of(by).user
    if inviter and not _manages(workspace.pk, inviter):
        raise NotPossible("Only an owner of the workspace can invite.")
    if Membership.objects.filter(workspace=workspace, user__email__iexact=person.email).exists():
        raise NotPossible(f"{person.email} is in this workspace already.")
    for space, role in person.grants:
        if space.workspace_id != workspace.pk:
            raise NotPossible("A space of another workspace.")
        check_may_grant(by, space, role)


def _manages(workspace_id: int, user: User) -> bool:
    membership = Membership.objects.filter(workspace=workspace_id, user=user).first()
    return bool(user.is_active and membership and membership.may("workspace.manage"))


def _check_pending(invitation: Invitation) -> None:
    if invitation.accepted_at or invitation.revoked_at:
        raise NotPossible("This invitation was accepted or revoked already.")


def _link(secret: str, origin: str) -> str:
    return origin + reverse("accept-invitation", args=[secret])


def _send_link(invitation: Invitation, secret: str, origin: str) -> None:
    who = str(invitation.invited_by) if invitation.invited_by else "The owner"
    send_mail(
        subject=f"Join {' '.join(invitation.workspace.name.split())} on Personas",  # a mail header is one line
        message=f"{who} invites you to the workspace “{invitation.workspace.name}” on Personas.\n\n"
        f"{_link(secret, origin)}\n\n"
        f"The link works once, until {invitation.expires_at:%d %B %Y, %H:%M} UTC.\n",
        from_email=settings.DEFAULT_FROM_EMAIL,
        recipient_list=[invitation.email],
    )
