"""All changes of workspaces, spaces, members, accounts, roles, invitations and tokens. Each leaves an audit entry."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.password_validation import validate_password
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.mail import send_mail
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from guardian.shortcuts import assign_perm, remove_perm
from rest_framework.request import Request

from access import queries, roles
from access.authentication import forget_space_readers, hashed
from access.models import (
    AuditEntry,
    Invitation,
    Membership,
    ProfileToken,
    SignedIn,
    SpaceGroupPermission,
    SpaceUserPermission,
    Token,
    User,
)
from spaces import services as spaces
from spaces.clock import clock
from spaces.models import Space, Workspace


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


def grant(space: Space, user: User, role: str, *, personal: bool = False, by: ActorLike) -> None:
    """The member has this role in the space, and no other. Raises NotPossible when `by` may not give it.

    personal: the member sees personal data there, whatever the role.
    """
    check_may_grant(by, space, role)
    # guardian would give anybody anything; the workspace of a space is a rule of ours.
    if not Membership.objects.filter(workspace=space.workspace_id, user=user).exists():
        raise NotPossible(f"{user.email} is not in this workspace.")
    with transaction.atomic():
        join_group(space, user, role, personal=personal)
        audit(by, "grant.given", space, user=user.email, role=role, personalData=personal)


def revoke(space: Space, user: User, *, by: ActorLike) -> None:
    """The user has no role in the space."""
    with transaction.atomic():
        leave_groups(space, user)
        audit(by, "grant.revoked", space, user=user.email)


def role_group(space: Space, role: str) -> Group:
    """The group of a role in a space, which has exactly the permissions of the role."""
    _check_known(role)
    group, _ = Group.objects.get_or_create(name=roles.group_name(space.pk, role))
    _write_permissions(space, group, roles.codenames(role))
    return group


def sync_roles() -> int:
    """Every group of a role has the permissions that access.roles now defines. Returns the number of groups."""
    count = 0
    for space in Space.objects.all():
        role_by_name = {roles.group_name(space.pk, role): role for role in roles.SPACE_ROLES}
        for group in Group.objects.filter(name__startswith=roles.group_prefix(space.pk)):
            # A role that this release no longer defines allows nothing.
            role = role_by_name.get(group.name)
            _write_permissions(space, group, roles.codenames(role) if role else frozenset())
            count += 1
    return count


def grants_of(membership: Membership) -> list[tuple[Space, str]]:
    """The spaces in which this member has a role, each with the role."""
    by_group = queries.grants_by_group(membership.workspace_id)
    # The groups of a user are of all their workspaces: the filter leaves those of this one.
    present = Group.objects.filter(user=membership.user_id, name__in=by_group).values_list("name", flat=True)
    grants = sorted((by_group[name] for name in present), key=lambda grant: grant.space.pk)
    return [(grant.space, grant.role) for grant in grants]


def spaces_of(membership: Membership) -> "QuerySet[Space]":
    """The spaces that this member can see; for an owner all of the workspace."""
    visible = Space.objects.filter(workspace=membership.workspace_id)
    if membership.role == roles.OWNER:
        return visible
    readable = [pk for pk, permissions in membership.granted.items() if "space.read" in permissions]
    return visible.filter(pk__in=readable)


def join_group(space: Space, user: User, role: str, *, personal: bool) -> None:
    """The user has this role in the space and no other, and no audit entry says so."""
    leave_groups(space, user)
    user.groups.add(role_group(space, role))
    if personal and not roles.sees_personal_data(role):
        assign_perm(roles.CODENAMES["space.pii"], user, space)


def leave_groups(space: Space, user: User) -> None:
    """The user has no role in the space, and no audit entry says so."""
    # By prefix: also the group of a role that this release no longer defines.
    user.groups.remove(*Group.objects.filter(user=user, name__startswith=roles.group_prefix(space.pk)))
    SpaceUserPermission.objects.filter(user=user, content_object=space).delete()


def _check_known(role: str) -> None:
    if role not in roles.SPACE_ROLES:
        raise NotPossible(f"There is no role “{role}” in a space; there are {', '.join(roles.SPACE_ROLES)}.")


def _write_permissions(space: Space, group: Group, wanted: frozenset[str]) -> None:
    granted = SpaceGroupPermission.objects.filter(group=group, content_object=space)
    present = set(granted.values_list("permission__codename", flat=True))
    # Only the difference: every grant to a member comes through here, and nearly always there is none.
    for codename in present - wanted:
        remove_perm(codename, group, space)
    if missing := wanted - present:
        # Together: guardian asks half a dozen questions for each.
        of_spaces = Permission.objects.filter(content_type=ContentType.objects.get_for_model(Space))
        same = {"workspace_id": space.workspace_id, "group": group, "content_object": space}
        SpaceGroupPermission.objects.bulk_create(
            [
                SpaceGroupPermission(**same, permission=permission)
                for permission in of_spaces.filter(codename__in=missing)
            ],
            ignore_conflicts=True,
        )


def check_may_grant(by: ActorLike, space: Space, role: str) -> None:
    """Raises NotPossible unless `by` owns the workspace and has every permission that the role gives."""
    _check_known(role)
    user = actor_of(by).user
    if user is None:
        return  # a command on the server
    # As it is now, not as the request found it: what they may do may have changed since.
    own = Membership.objects.filter(workspace=space.workspace_id, user=user).first()
    wanted = {"workspace.manage", *roles.SPACE_ROLES[role].permissions}
    if own is None or not all(own.may(permission, space) for permission in wanted):
        raise NotPossible("Only an owner of the workspace can give roles.")


def create_workspace(name: str, *, owner: User, by: ActorLike = COMMAND) -> Workspace:
    """A new workspace with `owner` as its owner."""
    with transaction.atomic():
        workspace = spaces.create_workspace(name)
        Membership.objects.create(workspace=workspace, user=owner, role=roles.OWNER)
        audit(by, "workspace.created", workspace, name=name, owner=owner.email)
    return workspace


def create_space(workspace: Workspace, *, name: str, kind: str, by: ActorLike) -> Space:
    with transaction.atomic():
        space = spaces.create_space(workspace, name=name, kind=kind)
        audit(by, "space.created", space, name=name, kind=kind)
    return space


def change_space(space: Space, *, by: ActorLike, **changes: Any) -> Space:
    """The named fields have new values. The slug never changes, so links to the space go on working."""
    # Read before the change, for the audit entry.
    before = {name: getattr(space, name) for name in changes}
    for name, value in changes.items():
        setattr(space, name, value)
    with transaction.atomic():
        space.save(update_fields=list(changes))
        audit(by, "space.changed", space, before=before, after=changes)
    return space


def delete_space(space: Space, *, by: ActorLike) -> None:
    with transaction.atomic():
        audit(by, "space.deleted", space, name=space.name)
        # Groups belong to no space by foreign key: they would stay behind.
        Group.objects.filter(name__startswith=roles.group_prefix(space.pk)).delete()
        spaces.delete_space(space)


def change_role(membership: Membership, role: str, *, by: ActorLike) -> None:
    """The member has this role in the workspace. Raises NotPossible when no owner would be left."""
    with transaction.atomic():
        if role != roles.OWNER:
            _check_other_owner(membership)
        Membership.objects.filter(pk=membership.pk).update(role=role)
        audit(by, "member.role", membership.workspace, user=membership.user.email, before=membership.role, after=role)
    membership.role = role


def change_access(
    membership: Membership,
    *,
    role: str,
    in_spaces: Mapping[Space, str],
    personal: Collection[Space] = (),
    by: ActorLike,
) -> None:
    """The member has this role in the workspace, and in each space of `in_spaces` that role, or none where it is "".

    personal: those of them where the member sees personal data, whatever the role. Spaces that are not in it stay as
    they are. Nothing changes when a part of it is not possible.
    """
    with transaction.atomic():
        present = dict(grants_of(membership))
        open_spaces = queries.open_to(membership)
        for space, wanted in in_spaces.items():
            sees = space in personal and not roles.sees_personal_data(wanted or "user")
            if wanted and (wanted != present.get(space) or sees != (space.pk in open_spaces)):
                grant(space, membership.user, wanted, personal=sees, by=by)
            elif not wanted and space in present:
                revoke(space, membership.user, by=by)
        # Last: an owner who gives up ownership gives up the right to give roles.
        if role != membership.role:
            change_role(membership, role, by=by)


def remove_member(membership: Membership, *, by: ActorLike) -> None:
    """The user is no longer in the workspace: no roles and no tokens, and the invitations they sent stop working."""
    workspace, user = membership.workspace, membership.user
    with transaction.atomic():
        _check_other_owner(membership)
        # Groups and grants belong to the user, not to the membership: they would outlive it.
        for space in Space.objects.filter(workspace=workspace):
            leave_groups(space, user)
        Token.objects.filter(workspace=workspace, user=user, revoked_at=None).update(revoked_at=clock.now())
        membership.delete()
        audit(by, "member.removed", workspace, user=user.email)


def _check_other_owner(membership: Membership) -> None:
    """Raises NotPossible when this member is the only owner of the workspace."""
    # Locked, in the same order for everybody: of two owners who leave at the same moment the second one is refused.
    owners = Membership.objects.select_for_update().filter(workspace=membership.workspace_id, role=roles.OWNER)
    if [owner.pk for owner in owners.order_by("pk")] == [membership.pk]:
        raise NotPossible("A workspace needs an owner, and this is the only one. Make someone else an owner first.")


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
    """The Profile API refuses the token from now on: other processes within a second."""
    with transaction.atomic():
        # It does not belong to whoever made it: a program goes on when its author has left, until somebody revokes it.
        ProfileToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=clock.now())
        audit(by, "profile_token.revoked", token, name=token.name, space=token.space.public_id)
    forget_space_readers()


def profile_tokens_of(space: Space) -> "QuerySet[ProfileToken]":
    """The live tokens of the space's Profile API."""
    return ProfileToken.objects.filter(space=space, revoked_at=None).select_related("created_by", "space")


SALT = "access.first-owner"
DAYS = 7
LOCK = 0x6F776E6572  # "owner": one at a time
SPENT = "There is an owner already, or this link is too old. Whoever runs the console gets a new one by starting it."


def is_unowned() -> bool:
    """Whether nobody has an account yet."""
    return not User.objects.exists()


def new_secret() -> str:
    """For a link that works for a week, and only while nobody has an account."""
    return signing.dumps("", salt=SALT)


def is_valid(secret: str) -> bool:
    try:
        signing.loads(secret, salt=SALT, max_age=DAYS * 24 * 3600)
    except signing.BadSignature:
        return False
    return is_unowned()


def make_first_owner(secret: str, *, email: str, name: str, password: str, workspace: str) -> tuple[User, Workspace]:
    """The first account, and a workspace of its own. Raises NotPossible, or ValidationError for a weak password."""
    validate_password(password, User(email=email, name=name))
    with transaction.atomic():
        with connection.cursor() as cursor:  # of two who have the link, one becomes the owner
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if not is_valid(secret):  # once more under the lock: the other one may have been first
            raise NotPossible(SPENT)
        user = User.objects.create_user(email, password, name)
        return user, create_workspace(workspace, owner=user, by=user)
