"""Access Management: the people of the workspace, their permissions, and pending invitations."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.mail import send_mail
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from access import queries, services
from access.models import Invitation, Membership
from access.pages import presenters
from access.pages.people_forms import Invite, Rights
from access.pages.tables import arranged, exported, listed, tabled, wants_csv
from access.requests import PageRequest, origin_of
from access.services import NotPossible
from spaces.lanes import CALLS, lane
from spaces.models import Space
from spaces.needs import SIGNED_IN, needs

WRONG_ADDRESS = "The address you typed is not the address of this person. Nothing was changed."


@needs(SIGNED_IN)
def goto(request: PageRequest) -> HttpResponse:
    """Redirects to the page of the user's first workspace: a URL for documentation, without the name of a workspace."""
    memberships = queries.workspaces_of(request.user)
    return redirect("access", workspace=memberships[0].workspace.slug) if memberships else redirect("home")


@never_cache
@lane(POST=CALLS)
@needs("workspace.read", POST="workspace.manage")
def access(request: PageRequest, workspace: str) -> HttpResponseBase:
    """The member's own permissions; for an owner the people as well. A POST resends or revokes an invitation."""
    if request.method == "POST":
        if request.POST.get("do") != "test-mail":
            return _change_invitation(request) if "invitation" in request.POST else HttpResponseBadRequest()
        try:
            text = "Mails arrive: invitations and new passwords will, too.\n"
            send_mail("A test of Personas", text, None, [request.user.email])
        except OSError as error:  # what smtplib raises is one, too; it says what to mend
            messages.error(request, f"The test mail could not be sent: {error}.")
        else:
            messages.success(request, f"A test mail is on its way to {request.user.email}.")
        return redirect("access", workspace=workspace)
    members, manages = queries.members(request.workspace), request.membership.may("workspace.manage")
    table_options: dict[str, Any] = {"columns": presenters.COLUMNS, "sort": "name", "search": presenters.SEARCH}
    # For owners: the file says who else is in the workspace.
    if manages and wants_csv(request):
        spaces = _spaces(request)
        people = presenters.people(request.workspace, arranged(request, members, **table_options))
        return exported(request, "people", presenters.csv_header(spaces), presenters.csv_rows(spaces, people))
    grants = services.grants_of(request.membership)
    context: dict[str, Any] = {
        "manages": manages,
        "you": request.membership,
        "in_workspace": presenters.rights_in_workspace(request.membership, grants),
        "in_spaces": presenters.rights_in_spaces(request.membership, grants),
    }
    if manages:
        table = tabled(request, members, **table_options)
        pending = queries.pending(request.workspace)
        invitations, pager = listed(request, pending, order="-id")
        context |= {
            "table": table,
            "people": presenters.people(request.workspace, table.rows),
            "invitations": presenters.invitations(request.workspace, invitations),
            "invitations_pager": pager,
            "mail_server": mail_server(),
        }
    return render(request, "access/access.html", context)


def _change_invitation(request: PageRequest) -> HttpResponse:
    invitations = Invitation.objects.filter(workspace=request.workspace)
    invitation = get_object_or_404(invitations, public_id=request.POST["invitation"])
    try:
        if request.POST.get("do") == "resend":
            services.resend(invitation, by=request, origin=origin_of(request))
            messages.success(request, f"A new link is on its way to {invitation.email}. The old one no longer works.")
        elif request.POST.get("do") == "link":
            link = services.link_to_hand_over(invitation, by=request, origin=origin_of(request))
            # No redirect: the secret would have to be stored somewhere until the next page.
            return render(request, "access/link.html", {"invitation": invitation, "link": link}, status=201)
        else:
            services.revoke_invitation(invitation, by=request)
            messages.success(request, f"The invitation of {invitation.email} was revoked. Its link no longer works.")
    except NotPossible as error:
        messages.error(request, str(error))
    return redirect("access", workspace=request.workspace.slug)


def mail_server() -> str:
    """Host and port of who sends our mails; "" = they are written to files."""
    sends = settings.EMAIL_BACKEND.endswith("smtp.EmailBackend")
    return f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}" if sends else ""


@lane(POST=CALLS)  # a mail server may take its time, fifty times over
@needs("workspace.manage")
def invite(request: PageRequest, workspace: str) -> HttpResponse:
    """Invite several people at once, with roles. All are invited, or none."""
    form = Invite(request.POST or None, spaces=_spaces(request))
    if request.method == "POST" and form.is_valid():
        try:
            sent = services.invite(request.workspace, form.people, by=request, origin=origin_of(request))
        except NotPossible as error:
            form.add_error("emails", str(error))
        else:
            who = f"{sent[0].email} was" if len(sent) == 1 else f"{len(sent)} people were"
            days = services.INVITATION_DAYS
            how = "in the e-mail" if mail_server() else "can be copied below: no mail server is set up. It"
            messages.success(request, f"{who} invited. The link {how} works once, for {days} days.")
            return redirect("access", workspace=workspace)
    status = 422 if request.method == "POST" else 200
    return render(request, "access/invite.html", {"form": form}, status=status)


@needs("workspace.manage")
def person(request: PageRequest, workspace: str, person: str) -> HttpResponse:
    """The roles of one member. A POST changes them, or with `confirm` removes the member."""
    member = get_object_or_404(queries.members(request.workspace), user__public_id=person)
    if "confirm" in request.POST:
        form, error = _rights_form(request, member), WRONG_ADDRESS
        # The server asks too: not every page has scripts.
        if request.POST["confirm"].strip().lower() == member.user.email:
            try:
                services.remove_member(member, by=request)
            except NotPossible as refused:
                error = str(refused)
            else:
                messages.success(request, f"{member.user} is no longer in {request.workspace}.")
                # Whoever removed themselves can no longer see the page of this workspace.
                removed_self = member.user_id == request.user.pk
                return redirect("home") if removed_self else redirect("access", workspace=workspace)
        return _render_person(request, member, form, error=error, status=422)
    form = _rights_form(request, member, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.change_access(
                member, role=form.cleaned_data["role"], in_spaces=form.in_spaces, personal=form.personal, by=request
            )
        except NotPossible as error:
            form.add_error("role", str(error))
        else:
            messages.success(request, f"The roles of {member.user} are saved.")
            return redirect("access", workspace=workspace)
    return _render_person(request, member, form, status=422 if request.method == "POST" else 200)


def _rights_form(request: PageRequest, member: Membership, entries: Any = None) -> Rights:
    present, origins = dict(services.grants_of(member)), presenters.origins_in_spaces(member)
    return Rights(
        entries,
        initial={"role": member.role},
        spaces=_spaces(request),
        present=present,
        origins=origins,
        open_to=queries.open_to(member),
    )


def _render_person(
    request: PageRequest, member: Membership, form: Rights, *, error: str = "", status: int
) -> HttpResponse:
    context = {
        "form": form,
        "member": member,
        "error": error,
        "here": reverse("access-person", args=[request.workspace.slug, member.user.public_id]),
        "about": f"{member.user} loses every role here; their API tokens and invitations stop working.",
    }
    return render(request, "access/person.html", context, status=status)


def _spaces(request: PageRequest) -> list[Space]:
    # All of them: only owners get here.
    return list(Space.objects.filter(workspace=request.workspace).order_by("kind", "name", "id"))
