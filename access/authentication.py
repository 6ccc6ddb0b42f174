"""A bearer token stands for a user in one workspace."""

import hashlib
from datetime import timedelta

from django.db.models import Q
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access.models import Token, User
from spaces.clock import clock

USED_EVERY = timedelta(minutes=1)  # last_used_at is not written more often than this
UNKNOWN = "This token is unknown or was revoked."


def hashed(secret: str) -> bytes:
    """What is kept of a secret that has 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer pat_…`. Sets request.user and request.auth (the Token)."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Send the token as `Authorization: Bearer pat_…`.")
        token = self._find(secret.strip())
        if token is None:
            raise AuthenticationFailed(UNKNOWN)
        _used(token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'

    def _find(self, secret: str) -> Token | None:
        live = Token.objects.select_related("user", "workspace").filter(revoked_at=None, user__is_active=True)
        return live.filter(hash=hashed(secret)).first()


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = BearerToken
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API token, `pat_…`"}


def _used(token: Token) -> None:
    now = clock.now()
    if token.last_used_at and now - token.last_used_at < USED_EVERY:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USED_EVERY)
    Token.objects.filter(stale, pk=token.pk).update(last_used_at=now)
