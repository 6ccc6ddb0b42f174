"""The attributes that the gate adds to a request. For type annotations only: these classes are never instantiated."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails
from rest_framework.request import Request

from access.models import Membership, Token, User
from spaces.models import Space, Workspace


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
