"""Pages about who you are and where you may go."""

from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, LogoutView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View
from django.views.decorators.http import require_POST

from access import queries, services
from access.models import Invitation, Membership, User
from access.pages.forms import Join, SignIn
from access.requests import PageRequest
from access.services import NotPossible
from spaces.lanes import PASSWORDS, lane
from spaces.needs import ANYONE, SIGNED_IN, needs

BACKEND = "django.contrib.auth.backends.ModelBackend"
THEMES = ("light", "dark")
YEAR_S = 365 * 24 * 3600


@needs(ANYONE)
@lane(POST=PASSWORDS)
class SignInView(LoginView):
    template_name = "access/sign_in.html"
    authentication_form = SignIn
    redirect_authenticated_user = True


@needs(ANYONE)
class SignOutView(LogoutView):
    http_method_names = ["post", "options"]


@needs(ANYONE)
@lane(POST=PASSWORDS)
class AcceptView(View):
    """The link of an invitation. A new person sets a password; somebody with an account signs in first."""

    def get(self, request: HttpRequest, secret: str) -> HttpResponse:
        invitation = services.find_invitation(secret)
        if invitation is None:
            return _spent(request)
        return self._page(request, invitation, Join())

    def post(self, request: HttpRequest, secret: str) -> HttpResponse:
        invitation = services.find_invitation(secret)
        if invitation is None:
            return _spent(request)
        form = Join(request.POST)
        if request.user.is_anonymous and not form.is_valid():
            return self._page(request, invitation, form, status=422)
        try:
            user = self._accept(request, secret, form)
        except NotPossible as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error("password", error)
        else:
            login(request, user, backend=BACKEND)
            messages.success(request, f"Welcome to {invitation.workspace.name}.")
            return redirect("workspace", workspace=invitation.workspace.slug)
        return self._page(request, invitation, form, status=422)

    def _accept(self, request: HttpRequest, secret: str, form: Join) -> User:
        if isinstance(request.user, User):
            return services.accept(secret, user=request.user)
        return services.accept(secret, name=form.cleaned_data["name"], password=form.cleaned_data["password"])

    def _page(self, request: HttpRequest, invitation: Invitation, form: Join, status: int = 200) -> HttpResponse:
        has_account = User.objects.filter(email__iexact=invitation.email).exists()
        context = {
            "invitation": invitation,
            "form": form,
            "must_sign_in": has_account and request.user.is_anonymous,
            "other_person": request.user.is_authenticated and request.user.email.lower() != invitation.email.lower(),
            "sign_in": f"{reverse('sign-in')}?next={quote(request.path)}",
        }
        return render(request, "access/accept.html", context, status=status)


@needs(SIGNED_IN)
def home(request: PageRequest) -> HttpResponse:
    """Every workspace of yours, with the spaces that you can see; the only one, where there is no other."""
    user: Any = request.user
    found = queries.workspaces_of(user)
    if len(found) == 1:
        return redirect("workspace", workspace=found[0].workspace.slug)
    return render(request, "access/home.html", {"workspaces": [_card(member) for member in found]})


@needs(ANYONE)
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Light, dark, or as the system says; kept in a cookie, so that the server sends the right page at once."""
    back = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    response = HttpResponseRedirect(back if ours else reverse("home"))
    if (wanted := request.POST.get("theme")) in THEMES:
        response.set_cookie("theme", str(wanted), max_age=YEAR_S, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


def _card(membership: Membership) -> dict[str, Any]:
    """A workspace as a page shows it: each space with what you may do there."""
    slug = membership.workspace.slug
    spaces = [
        {
            "space": space,
            "url": reverse("space", args=[slug, space.slug]),
            "may": _best(membership, space),
        }
        for space in services.spaces_of(membership).order_by("kind", "name", "id")
    ]
    return {
        "workspace": membership.workspace,
        "url": reverse("workspace", args=[slug]),
        "role": membership.get_role_display(),
        "spaces": spaces,
        "manages": membership.may("workspace.manage"),
    }


def _best(membership: Membership, space: Any) -> str:
    """The most that you may do in the space, in a few words."""
    words = {"space.admin": "Full access", "space.use": "You can build audiences", "space.read": "You can look"}
    return next((word for permission, word in words.items() if membership.may(permission, space)), "No access")


def _spent(request: HttpRequest) -> HttpResponse:
    return render(request, "access/spent.html", status=410)
