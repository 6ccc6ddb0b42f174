"""Tokens: of the API, which acts for one user in one workspace, and of the Profile API, which reads one space."""

import hashlib
import time
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Q
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access.models import Token, User
from spaces.clock import clock

# last_used_at is written at most this often: a busy client would otherwise rewrite one row with every request.
USED_EVERY = timedelta(minutes=1)
KNOWN_FOR_S = 1.0  # how long a process remembers a token of a Profile API, which comes hundreds of times a second
MOST_KNOWN = 10_000
UNKNOWN = "This token is unknown or was revoked."


def hashed(secret: str) -> bytes:
    """The hash that is stored of a secret."""
    # A slow hash would add nothing: the secret has 256 random bits, which nobody can try out.
    return hashlib.sha256(secret.encode()).digest()


class BearerToken(BaseAuthentication):
    """Reads `Authorization: Bearer pat_…`; request.user is then the token's user, request.auth the Token."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Send the token as `Authorization: Bearer pat_…`.")
        live = Token.objects.select_related("user", "workspace").filter(revoked_at=None, user__is_active=True)
        token = live.filter(hash=hashed(secret.strip())).first()
        if token is None:
            raise AuthenticationFailed(UNKNOWN)
        now = clock.now()
        if token.last_used_at is None or now - token.last_used_at >= USED_EVERY:
            # The condition once more in the statement: of many requests at the same moment one writes.
            stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USED_EVERY)
            Token.objects.filter(stale, pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        # Without this header DRF would answer 403 instead of 401.
        return 'Bearer realm="api"'


@dataclass(frozen=True)
class SpaceReader:
    """A program that reads a space by one of its tokens. workspace, space: public ids."""

    token_id: int
    workspace_id: int
    space_id: int
    workspace: str
    space: str


DUE = f"clock_timestamp() - interval '{USED_EVERY.seconds} s'"
# Not by the ORM, which costs more than the rest of a read of the Profile API: it asks this with each.
READER = f"""
    SELECT t.id, t.workspace_id, t.space_id, w.public_id, s.public_id,
           coalesce(t.last_used_at < {DUE}, true)
    FROM access_profiletoken t
    JOIN spaces_space s ON s.id = t.space_id AND s.deleted_at IS NULL
    JOIN spaces_workspace w ON w.id = t.workspace_id
    WHERE t.hash = %(hash)s AND t.revoked_at IS NULL"""
USED = f"""
    UPDATE access_profiletoken SET last_used_at = clock_timestamp()
    WHERE id = %(id)s AND coalesce(last_used_at < {DUE}, true)"""


_known: dict[bytes, tuple[float, SpaceReader]] = {}


def space_reader(secret: str) -> SpaceReader | None:
    """Who has this token of a Profile API; None when nobody has, or it was revoked more than KNOWN_FOR_S ago. That it
    was used is noted."""
    key = hashed(secret)
    known_until, known = _known.get(key, (0.0, None))
    if known_until > time.monotonic():
        return known
    with connection.cursor() as cursor:
        cursor.execute(READER, {"hash": key})
        row = cursor.fetchone()
        if row is None:
            return None
        *ids, is_due = row
        if is_due:
            cursor.execute(USED, {"id": ids[0]})
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[key] = time.monotonic() + KNOWN_FOR_S, SpaceReader(*ids)
    return _known[key][1]


def forget_space_readers() -> None:
    """The next request of every token looks it up again."""
    _known.clear()


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = BearerToken
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API token, `pat_…`"}
