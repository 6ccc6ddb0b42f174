"""The only place where access is enforced. A view states what it needs (spaces.needs); one that does not is refused.

Pages are checked by GateMiddleware before the view runs, API views by the permission `Needed` once the bearer
token is known; both ask the same `judge`. What belongs to a workspace that someone is not in is 404, never 403.
After the gate a view may rely on request.workspace, request.membership and, below a space, request.space.
"""

import logging
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from rest_framework import exceptions
from rest_framework.exceptions import NotAuthenticated, NotFound
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from access.errors import NOTHING, is_api, plain
from access.models import Membership, User
from access.roles import PERMISSIONS, SPACE_PERMISSIONS
from spaces.limits import asking
from spaces.models import Space
from spaces.needs import ANYONE, SIGNED_IN

if TYPE_CHECKING:  # DRF's views import their permissions, which are here
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

NEEDS = {ANYONE, SIGNED_IN, *PERMISSIONS}
UNMARKED = "This view states no permission."


class Unmarked(ImproperlyConfigured):
    """A view without a mark, or with one that nobody can meet."""


class Answer(Enum):
    ALLOWED = "allowed"
    SIGN_IN = "sign in"
    MISSING = "missing"  # not theirs, or not there
    FORBIDDEN = "forbidden"  # theirs, without this permission


def view_class(view: Callable[..., Any]) -> type | None:
    """The class behind a view function: Django's or DRF's."""
    return getattr(view, "view_class", None) or getattr(view, "cls", None)


def need_of(view: Callable[..., Any], method: str) -> str:
    """What the view states for this method. Raises Unmarked."""
    mark: Any = getattr(view, "needs", None) or getattr(view_class(view), "needs", None)
    if isinstance(mark, str):
        mark = {"": mark}
    if not isinstance(mark, Mapping) or "" not in mark:
        raise Unmarked(f"{view!r} states no permission")
    need = mark.get("GET" if method == "HEAD" and "HEAD" not in mark else method, mark[""])
    if need not in NEEDS:
        raise Unmarked(f"{view!r} needs {need!r}, which is no permission")
    return need


def judge(need: str, *, user: User | None, membership: Membership | None, space: Space | None) -> Answer:
    """The one rule. `membership` is that of the user in the workspace asked for; `space` is one of that workspace."""
    if need == ANYONE:
        return Answer.ALLOWED
    if user is None:
        return Answer.SIGN_IN
    if need == SIGNED_IN:
        return Answer.ALLOWED
    if membership is None or (need in SPACE_PERMISSIONS and space is None):
        return Answer.MISSING
    return Answer.ALLOWED if membership.may(need, space) else Answer.FORBIDDEN


class GateMiddleware:
    """Enforces the marks of pages, and sees to it that API views enforce theirs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        try:
            need = need_of(view, request.method or "GET")
            if _is_api(view):
                return None  # `Needed` goes on, with the token's user
        except Unmarked as error:
            return _refuse(request, error)
        if need == ANYONE:
            return None
        user = request.user if request.user.is_authenticated else None
        membership = _membership(user, slug=kwargs["workspace"]) if user and "workspace" in kwargs else None
        space = _space(membership, slug=kwargs["space"]) if "space" in kwargs else None
        lost = "space" in kwargs and space is None
        answer = judge(need, user=user, membership=membership, space=space)
        if answer is Answer.SIGN_IN:
            return _to_sign_in(request)
        if answer is Answer.MISSING or lost or ("workspace" in kwargs and membership is None):
            raise Http404
        if answer is Answer.FORBIDDEN:
            raise PermissionDenied(_lacking(need, space))
        _keep(request, membership, space)
        return None


class Needed(BasePermission):
    """DRF's side of the gate. The workspace is the token's; `space_id` in the path must be one of its spaces."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        need = need_of(view, request.method or "GET")  # type: ignore[arg-type]
        user: Any = request.user
        token: Any = request.auth
        membership = _membership(user, pk=token.workspace_id) if user else None
        asked = view.kwargs.get("space_id")
        space = _space(membership, public_id=asked) if asked else None
        answer = judge(need, user=user, membership=membership, space=space)
        if answer is Answer.ALLOWED and need == ANYONE:
            return True
        if answer is Answer.SIGN_IN or (user and membership is None):
            raise NotAuthenticated("Send an API token as `Authorization: Bearer pat_…`; this one opens nothing.")
        if answer is Answer.MISSING or (asked and space is None):
            raise NotFound(NOTHING)
        if answer is Answer.FORBIDDEN:
            raise exceptions.PermissionDenied(_lacking(need, space))
        _keep(request._request, membership, space)
        return True


def _is_api(view: Callable[..., Any]) -> bool:
    """Whether DRF is behind it. Raises Unmarked when it would let anyone in, whatever the mark says."""
    behind = getattr(view, "cls", None)  # how DRF names it; Django's own views say view_class
    if behind is None:
        return False
    if Needed not in behind.permission_classes:
        raise Unmarked(f"{view!r} does not ask the gate: Needed is not among its permission classes")
    return True


def _membership(user: User, **workspace: Any) -> Membership | None:
    """One query; what its spaces grant is a second, made when first asked for."""
    filters = {f"workspace__{name}": value for name, value in workspace.items()}
    return Membership.objects.select_related("workspace").filter(user=user, **filters).first()


def _space(membership: Membership | None, **which: str) -> Space | None:
    if membership is None:
        return None
    return Space.objects.filter(workspace_id=membership.workspace_id, **which).first()


def _keep(request: HttpRequest, membership: Membership | None, space: Space | None) -> None:
    asking(membership.workspace.public_id if membership else "")
    request.membership = membership  # type: ignore[attr-defined]
    request.workspace = membership.workspace if membership else None  # type: ignore[attr-defined]
    request.space = space  # type: ignore[attr-defined]


def _lacking(need: str, space: Space | None) -> str:
    where = f" in {space.name}" if space else ""
    return f"You lack the permission “{need}”{where}: {PERMISSIONS[need]}. An owner of the workspace can give it."


def _refuse(request: HttpRequest, error: Unmarked) -> HttpResponseBase:
    if getattr(settings, "GATE_RAISES", settings.DEBUG):
        raise error
    logger.error("%s", error)
    if is_api(request):
        return plain(403, UNMARKED)
    return HttpResponse(UNMARKED, status=403, content_type="text/plain; charset=utf-8")


def _to_sign_in(request: HttpRequest) -> HttpResponseBase:
    """To the sign-in page and back; htmx is told to move the whole page, not to swap a form into a fragment."""
    here = request.get_full_path() if request.method in ("GET", "HEAD") else ""
    if request.headers.get("HX-Request"):
        return HttpResponse(status=401, headers={"HX-Redirect": resolve_url(settings.LOGIN_URL)})
    target = resolve_url(settings.LOGIN_URL)
    return redirect(f"{target}?{urlencode({'next': here})}" if here else target)
