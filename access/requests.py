"""The attributes that the gate adds to a request, for type annotations: these classes are never instantiated."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails
from rest_framework.request import Request

from access.models import Membership, Token, User
from spaces.models import Space, Workspace


def origin_of(request: HttpRequest | Request) -> str:
    """Scheme and host of the console as whoever asks has reached it, without a slash at the end: for links in mails."""
    return request.build_absolute_uri("/").rstrip("/")


class ApiRequest(Request):
    """A request in an API view. `space` is set where the path names one."""

    user: User
    auth: Token
    workspace: Workspace
    membership: Membership
    space: Space


class PageRequest(HttpRequest):
    """A request for a page. `workspace`, `membership` and `space` are set where the path names them."""

    user: User
    htmx: HtmxDetails
    workspace: Workspace
    membership: Membership
    space: Space
