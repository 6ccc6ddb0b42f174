"""The only place where access is enforced. A view states its permission (spaces.needs); one that does not is refused.

GateMiddleware checks pages before the view runs; the permission class `Needed` checks API views once DRF has read
the token. Both call `judge`. What belongs to a workspace that the user is not in is 404, never 403: a 403 would
tell that it exists. After the gate request.workspace, request.membership and, below a space, request.space are set.
"""

import logging
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

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
from spaces import personal
from spaces.limits import asking
from spaces.models import Space
from spaces.needs import ANYONE, SIGNED_IN

if TYPE_CHECKING:  # DRF's views import their permissions, which are here
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

NEEDS = {ANYONE, SIGNED_IN, *PERMISSIONS}
UNMARKED = "This view states no permission."


class Unmarked(ImproperlyConfigured):
    """A view that states no permission, or one that does not exist."""


class Judgement(Enum):
    ALLOWED = "allowed"
    SIGN_IN = "sign in"
    MISSING = "missing"  # not theirs, or not there
    FORBIDDEN = "forbidden"  # theirs, without this permission


def view_class(view: Callable[..., Any]) -> type | None:
    """The class of a class-based view, Django's or DRF's; None for a function."""
    return getattr(view, "view_class", None) or getattr(view, "cls", None)


def need_of(view: Callable[..., Any], method: str) -> str:
    """The permission that the view states for this method. Raises Unmarked."""
    mark: Any = getattr(view, "needs", None) or getattr(view_class(view), "needs", None)
    if isinstance(mark, str):
        mark = {"": mark}
    if not isinstance(mark, Mapping) or "" not in mark:
        raise Unmarked(f"{view!r} states no permission")
    # Django answers HEAD with the view's GET.
    need = mark.get("GET" if method == "HEAD" and "HEAD" not in mark else method, mark[""])
    if need not in NEEDS:
        raise Unmarked(f"{view!r} needs {need!r}, which is no permission")
    return need


def judge(need: str, *, user: User | None, membership: Membership | None, space: Space | None) -> Judgement:
    """The rule itself. membership: the user's in the requested workspace; space: one of that workspace."""
    if need == ANYONE:
        return Judgement.ALLOWED
    if user is None:
        return Judgement.SIGN_IN
    if need == SIGNED_IN:
        return Judgement.ALLOWED
    if membership is None or (need in SPACE_PERMISSIONS and space is None):
        return Judgement.MISSING
    return Judgement.ALLOWED if membership.may(need, space) else Judgement.FORBIDDEN


class GateMiddleware:
    """Enforces the permissions of pages, and refuses API views that do not have `Needed`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        personal.mask(True)  # until it is known who asks
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        try:
            need = need_of(view, request.method or "GET")
            api_view = getattr(view, "cls", None)  # DRF's name for it; Django's own views have view_class
            if api_view is not None:
                if Needed not in api_view.permission_classes:
                    raise Unmarked(f"{view!r} does not ask the gate: Needed is not among its permission classes")
                # The token has not been read yet. `Needed` decides, in the view.
                return None
        except Unmarked as error:
            # Loud in development and in tests; in production nothing is shown that nobody has thought about.
            if getattr(settings, "GATE_RAISES", settings.DEBUG):
                raise
            logger.error("%s", error)
            if is_api(request):
                return plain(403, UNMARKED)
            return HttpResponse(UNMARKED, status=403, content_type="text/plain; charset=utf-8")
        if need == ANYONE:
            return None
        user = request.user if request.user.is_authenticated else None
        membership = _membership(user, slug=kwargs["workspace"]) if user and "workspace" in kwargs else None
        space = _space(membership, slug=kwargs["space"]) if "space" in kwargs else None
        # A view may need less than the path names, such as only the workspace: what is named must exist all the same.
        missing = ("workspace" in kwargs and membership is None) or ("space" in kwargs and space is None)
        judgement = judge(need, user=user, membership=membership, space=space)
        if judgement is Judgement.SIGN_IN:
            return _redirect_to_sign_in(request)
        if judgement is Judgement.MISSING or missing:
            raise Http404
        if judgement is Judgement.FORBIDDEN:
            raise PermissionDenied(_refusal(need, space))
        _attach(request, membership, space)
        return None


class Needed(BasePermission):
    """DRF's side of the gate. The workspace is the token's; `space_id` in the path must be one of its spaces."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        need = need_of(view, request.method or "GET")  # type: ignore[arg-type]
        user: Any = request.user
        token: Any = request.auth
        membership = _membership(user, pk=token.workspace_id) if user else None
        space_id = view.kwargs.get("space_id")
        space = _space(membership, public_id=space_id) if space_id else None
        judgement = judge(need, user=user, membership=membership, space=space)
        if judgement is Judgement.ALLOWED and need == ANYONE:
            return True
        # A token outlives the membership of its user: it is then as good as none.
        if judgement is Judgement.SIGN_IN or (user and membership is None):
            raise NotAuthenticated("Send an API token as `Authorization: Bearer pat_…`; this one opens nothing.")
        if judgement is Judgement.MISSING or (space_id and space is None):
            raise NotFound(NOTHING)
        if judgement is Judgement.FORBIDDEN:
            raise exceptions.PermissionDenied(_refusal(need, space))
        # On Django's request, from which DRF's reads what it does not have itself: middleware sees it, too.
        _attach(request._request, membership, space)
        return True


def _membership(user: User, **workspace: Any) -> Membership | None:
    """The user's membership in the workspace with this slug or pk. One query; grants are a second one, when needed."""
    filters = {f"workspace__{name}": value for name, value in workspace.items()}
    return Membership.objects.select_related("workspace").filter(user=user, **filters).first()


def _space(membership: Membership | None, **filters: str) -> Space | None:
    if membership is None:
        return None
    return Space.objects.filter(workspace_id=membership.workspace_id, **filters).first()


def _attach(request: HttpRequest, membership: Membership | None, space: Space | None) -> None:
    asking(membership.workspace.public_id if membership else "")
    # Outside a space there are but the sources; whoever may see these sees what they received.
    personal.mask(bool(membership and space and not membership.may("space.pii", space)))
    request.membership = membership  # type: ignore[attr-defined]
    request.workspace = membership.workspace if membership else None  # type: ignore[attr-defined]
    request.space = space  # type: ignore[attr-defined]


def require(request: HttpRequest, permission: str) -> None:
    """For what of a view needs more than the view itself. Raises PermissionDenied."""
    space: Space = request.space  # type: ignore[attr-defined]
    if not request.membership.may(permission, space):  # type: ignore[attr-defined]
        raise PermissionDenied(_refusal(permission, space))


def _refusal(need: str, space: Space | None) -> str:
    where = f" in {space.name}" if space else ""
    return f"You lack the permission “{need}”{where}: {PERMISSIONS[need]}. An owner of the workspace can give it."


def _redirect_to_sign_in(request: HttpRequest) -> HttpResponseBase:
    """Leads to the sign-in page, and from there back to the page that one was on."""
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    if htmx:
        here = htmx.current_url_abs_path or ""
    elif request.method in ("GET", "HEAD"):
        here = request.get_full_path()
    else:  # what a form sent is lost, the page that it was on is not
        page = urlsplit(request.headers.get("Referer", ""))
        here = f"{page.path}{'?' if page.query else ''}{page.query}" if page.netloc == request.get_host() else ""
    sign_in = resolve_url(settings.LOGIN_URL)
    where = f"{sign_in}?{urlencode({'next': here})}" if here else sign_in
    if htmx:  # it would follow a redirect and put the sign-in form into a fragment of the page
        return HttpResponse(status=401, headers={"HX-Redirect": where})
    return redirect(where)
