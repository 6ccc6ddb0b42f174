"""Signing in and out, accepting an invitation, the list of workspaces, and the colour theme."""

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
from access.models import Invitation, User
from access.pages.forms import Join, SignIn
from access.requests import PageRequest
from access.services import NotPossible
from spaces.lanes import PASSWORDS, lane
from spaces.needs import ANYONE, SIGNED_IN, needs

BACKEND = "django.contrib.auth.backends.ModelBackend"
THEMES = ("light", "dark")
YEAR_S = 365 * 24 * 3600
RIGHTS = {  # the most that a member may do in a space: the first one that applies
    "space.admin": "Full access",
    "space.use": "Can build audiences",
    "space.read": "Can view",
}


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
    """The link in an invitation. A new user sets a password; somebody with an account signs in first."""

    def get(self, request: HttpRequest, secret: str) -> HttpResponse:
        invitation = services.find_invitation(secret)
        if invitation is None:
            return render(request, "access/spent.html", status=410)
        return self._page(request, invitation, Join())

    def post(self, request: HttpRequest, secret: str) -> HttpResponse:
        invitation = services.find_invitation(secret)
        if invitation is None:
            return render(request, "access/spent.html", status=410)
        form = Join(request.POST)
        if request.user.is_anonymous and not form.is_valid():
            return self._page(request, invitation, form, status=422)
        # Whoever is signed in has an account already, and sees no fields for a name and a password.
        account: dict[str, Any] = {"user": request.user} if isinstance(request.user, User) else form.cleaned_data
        try:
            user = services.accept(secret, **account)
        except NotPossible as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error("password", error)
        else:
            # With guardian's there are two backends, and login() has to be told which one it was.
            login(request, user, backend=BACKEND)
            messages.success(request, f"Welcome to {invitation.workspace.name}.")
            return redirect("workspace", workspace=invitation.workspace.slug)
        return self._page(request, invitation, form, status=422)

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
    """The workspaces of the user, with the spaces that they can see; with only one workspace, redirects to it."""
    memberships = queries.workspaces_of(request.user)
    if len(memberships) == 1:
        return redirect("workspace", workspace=memberships[0].workspace.slug)
    cards = [
        {
            "workspace": membership.workspace,
            "url": reverse("workspace", args=[membership.workspace.slug]),
            "role": membership.get_role_display(),
            "spaces": [
                {
                    "space": space,
                    "url": reverse("space", args=[membership.workspace.slug, space.slug]),
                    "may": next((text for right, text in RIGHTS.items() if membership.may(right, space)), "No access"),
                }
                for space in services.spaces_of(membership).order_by("kind", "name", "id")
            ],
            "manages": membership.may("workspace.manage"),
        }
        for membership in memberships
    ]
    return render(request, "access/home.html", {"workspaces": cards})


@needs(ANYONE)
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Light, dark, or the system's setting. Goes back to the page `next`."""
    back = request.POST.get("next", "")
    # Anybody can send this form: without the check it would redirect to any site from our address.
    ours = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    response = HttpResponseRedirect(back if ours else reverse("home"))
    # A cookie, so that the server already sends the right colours: the page does not flash in the others.
    if (chosen := request.POST.get("theme")) in THEMES:
        response.set_cookie("theme", str(chosen), max_age=YEAR_S, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response
