"""Signing in and out, one's own account, accepting an invitation, the list of workspaces, and the colour theme."""

from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm, PasswordResetForm, SetPasswordForm
from django.contrib.auth.signals import user_logged_in
from django.contrib.auth.views import (
    INTERNAL_RESET_SESSION_TOKEN,
    LoginView,
    LogoutView,
    PasswordResetConfirmView,
    PasswordResetDoneView,
    PasswordResetView,
)
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from access import limits, queries, services
from access.models import Invitation, User
from access.pages.forms import FirstOwner, Join, NewPassword, OwnPassword, Reset, SignIn
from access.pages.tables import row_number
from access.requests import PageRequest
from access.services import NotPossible
from spaces.clock import clock
from spaces.lanes import CALLS, PASSWORDS, lane
from spaces.models import Workspace
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

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        return super().get_context_data(**more) | {"unowned": services.is_unowned()}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Before the password is looked at: its hash is slow on purpose, and a right guess must not tell.
        if not limits.is_exceeded(request, limits.PASSWORDS, self._account):
            return super().post(request, *args, **kwargs)
        messages.error(request, limits.TOO_OFTEN)
        return self.render_to_response(self.get_context_data(form=SignIn(request)), status=429)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        limits.count(self.request, limits.PASSWORDS, self._account)
        return super().form_invalid(form)

    @property
    def _account(self) -> str:
        return self.request.POST.get("username", "")


@needs(ANYONE)
class SignOutView(LogoutView):
    http_method_names = ["post", "options"]


@receiver(user_logged_in)
def note_sign_in(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    services.note_sign_in(user, request)


def _enter(request: HttpRequest, user: User, workspace: Workspace, greeting: str) -> HttpResponse:
    """Whoever has just joined is signed in, and at the workspace."""
    # With guardian's there are two backends, and login() has to be told which one it was.
    login(request, user, backend=BACKEND)
    messages.success(request, greeting)
    return redirect("workspace", workspace=workspace.slug)


@never_cache
@needs(ANYONE)
@lane(POST=PASSWORDS)
def welcome(request: HttpRequest, secret: str) -> HttpResponse:
    """The link that a start prints while nobody has an account: its first user makes the owner and a workspace."""
    if not services.is_valid(secret):  # 410 and not 404: such links end, and the page says where the next one is
        return render(request, "access/welcome_spent.html", status=410)
    form = FirstOwner(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user, workspace = services.make_first_owner(secret, **form.cleaned_data)
        except NotPossible as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error("password", error)
        else:
            greeting = f"Welcome. {workspace} is yours: invite your team, or begin with a space."
            return _enter(request, user, workspace, greeting)
    return render(request, "access/welcome.html", {"form": form}, status=422 if request.method == "POST" else 200)


@needs(ANYONE)
@lane(POST=CALLS)
class ResetView(PasswordResetView):
    """A link to make a new password is sent, if there is such an account; the answer is the same if not."""

    template_name = "access/reset.html"
    email_template_name = "access/reset_mail.txt"
    subject_template_name = "access/reset_subject.txt"
    form_class = Reset
    success_url = reverse_lazy("reset-sent")

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        email = form.cleaned_data["email"]
        # Whether there is such an account or not: the limit must not tell what the answer does not.
        if limits.is_exceeded(self.request, limits.MAILS, email):
            messages.error(self.request, limits.TOO_OFTEN)
            return self.render_to_response(self.get_context_data(form=form), status=429)
        limits.count(self.request, limits.MAILS, email)
        return super().form_valid(form)


@needs(ANYONE)
class ResetSentView(PasswordResetDoneView):
    template_name = "access/reset_sent.html"


@needs(ANYONE)
@lane(POST=PASSWORDS)
class NewPasswordView(PasswordResetConfirmView):
    """The link of the mail: it works once, for an hour."""

    template_name = "access/new_password.html"
    form_class = NewPassword
    success_url = reverse_lazy("sign-in")

    def render_to_response(self, context: dict[str, Any], **more: Any) -> HttpResponse:
        return super().render_to_response(context, status=200 if self.validlink else 410, **more)

    def form_valid(self, form: "SetPasswordForm[User]") -> HttpResponse:
        services.set_password(form.user, form.cleaned_data["new_password1"], by=form.user)
        # The link's secret; nobody is signed in by it, so that a mail that was read by others opens no session.
        del self.request.session[INTERNAL_RESET_SESSION_TOKEN]
        messages.success(self.request, "The password is new. Every session has ended, and API tokens are revoked.")
        return redirect(self.success_url)


@never_cache
@needs(SIGNED_IN)
@lane(POST=PASSWORDS)
def account(request: PageRequest) -> HttpResponse:
    """One's own password and sessions. A POST changes the password, or ends a session."""
    sessions = services.sessions_of(request.user, clock.now())
    if "end" in request.POST:
        services.end_session(get_object_or_404(sessions, pk=row_number(request.POST["end"]) or 0), by=request)
        messages.success(request, "That session has ended.")
        return redirect("account")
    form = OwnPassword(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.set_password(request.user, form.cleaned_data["new_password1"], by=request)
        login(request, request.user, backend=BACKEND)  # a new session: this one has ended with all others
        messages.success(request, "The password is new. Your other sessions have ended, and API tokens are revoked.")
        return redirect("account")
    rows = [{"row": row, "here": row.session == request.session.session_key} for row in sessions]
    context = {"form": form, "sessions": rows}
    return render(request, "access/account.html", context, status=422 if request.method == "POST" else 200)


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
            return _enter(request, user, invitation.workspace, f"Welcome to {invitation.workspace.name}.")
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
    if len(memberships) == 1:  # a list of one is a page that everybody leaves at once
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
