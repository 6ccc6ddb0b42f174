"""What a request holds once the gate has let it pass. For types only: nothing makes these."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails
from rest_framework.request import Request

from access.models import Membership, Token, User
from spaces.models import Space, Workspace


class ApiRequest(Request):
    """In an API view. `space` where the path names one."""

    user: User
    auth: Token
    workspace: Workspace
    membership: Membership
    space: Space


class PageRequest(HttpRequest):
    """In the view of a page. `workspace`, `membership` and `space` where the address names them."""

    user: User
    htmx: HtmxDetails
    workspace: Workspace
    membership: Membership
    space: Space
