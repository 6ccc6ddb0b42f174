"""The API's bearer tokens. A token acts for one user in one workspace."""

import hashlib
from datetime import timedelta

from django.db.models import Q
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access.models import Token, User
from spaces.clock import clock

# last_used_at is written at most this often: a busy client would otherwise rewrite one row with every request.
USED_EVERY = timedelta(minutes=1)
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


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = BearerToken
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API token, `pat_…`"}
