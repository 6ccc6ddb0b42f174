"""Access Management: who is in the workspace, what they may do and why; and who was asked to join."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from access import queries, services
from access.models import Invitation, Membership
from access.pages import presenters as read
from access.pages.people_forms import Invite, Rights
from access.pages.tables import arranged, csv_of, listed, tabled, wants_csv
from access.requests import PageRequest
from access.services import NotPossible
from spaces.models import Space
from spaces.needs import SIGNED_IN, needs

NOT_TYPED = "The address that was typed is not that of this person. Nothing was changed."


@needs(SIGNED_IN)
def goto(request: PageRequest) -> HttpResponse:
    """The address that the quickstart names leads to the page of one's first workspace."""
    found = queries.workspaces_of(request.user)
    return redirect("access", workspace=found[0].workspace.slug) if found else redirect("home")


@needs("workspace.read", POST="workspace.manage")
def access(request: PageRequest, workspace: str) -> HttpResponseBase:
    """Your rights, and for whoever manages it everybody's. A POST sends an invitation again or takes it back."""
    if request.method == "POST":
        return _answer_invitation(request) if "invitation" in request.POST else HttpResponseBadRequest()
    manages = request.membership.may("workspace.manage")
    if manages and wants_csv(request):
        return _csv(request)
    grants = services.grants_of(request.membership)
    context: dict[str, Any] = {
        "manages": manages,
        "you": request.membership,
        "in_workspace": read.rights_in_workspace(request.membership, grants),
        "in_spaces": read.rights_in_spaces(request.membership, grants),
    }
    return render(request, "access/access.html", context | (_everybody(request) if manages else {}))


def _everybody(request: PageRequest) -> dict[str, Any]:
    rows = queries.members(request.workspace)
    table = tabled(request, rows, columns=read.COLUMNS, sort="name", search=read.SEARCH)
    found, pager = listed(request, queries.pending(request.workspace).select_related("invited_by"), order="-id")
    return {
        "table": table,
        "people": read.people(request.workspace, table.rows),
        "invitations": read.invitations(request.workspace, found),
        "invitations_pager": pager,
    }


def _csv(request: PageRequest) -> HttpResponseBase:
    rows = queries.members(request.workspace)
    found = arranged(request, rows, columns=read.COLUMNS, sort="name", search=read.SEARCH)
    spaces = _spaces(request)
    return csv_of("people", read.csv_header(spaces), read.csv_rows(spaces, read.people(request.workspace, found)))


def _answer_invitation(request: PageRequest) -> HttpResponse:
    wanted = request.POST["invitation"]
    invitation = Invitation.objects.filter(workspace=request.workspace, public_id=wanted).first()
    if invitation is None:
        raise Http404
    try:
        if request.POST.get("do") == "resend":
            services.resend(invitation, by=request, origin=_origin(request))
            messages.success(request, f"A new link is on its way to {invitation.email}. The old one no longer works.")
        else:
            services.revoke_invitation(invitation, by=request)
            messages.success(request, f"The invitation of {invitation.email} was revoked. Its link no longer works.")
    except NotPossible as error:
        messages.error(request, str(error))
    return redirect("access", workspace=request.workspace.slug)


@needs("workspace.manage")
def invite(request: PageRequest, workspace: str) -> HttpResponse:
    """Invite several people at once, with roles. All are invited, or none."""
    form = Invite(request.POST or None, spaces=_spaces(request))
    if request.method == "POST" and form.is_valid():
        try:
            sent = services.invite(request.workspace, form.people, by=request, origin=_origin(request))
        except NotPossible as error:
            form.add_error("emails", str(error))
        else:
            messages.success(request, _were_invited(sent))
            return redirect("access", workspace=workspace)
    status = 422 if request.method == "POST" else 200
    return render(request, "access/invite.html", {"form": form}, status=status)


def _were_invited(sent: list[Invitation]) -> str:
    who = f"{sent[0].email} was" if len(sent) == 1 else f"{len(sent)} people were"
    return f"{who} invited. The link in the mail works once, for {services.INVITATION_DAYS} days."


@needs("workspace.manage")
def person(request: PageRequest, workspace: str, person: str) -> HttpResponse:
    """What one person may do, to be changed; or the person is removed, once the address was typed."""
    member = queries.members(request.workspace).filter(user__public_id=person).first()
    if member is None:
        raise Http404
    if "confirm" in request.POST:
        return _remove(request, member)
    form = _rights(request, member, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.change_access(member, role=form.cleaned_data["role"], in_spaces=form.in_spaces, by=request)
        except NotPossible as error:
            form.add_error("role", str(error))
        else:
            messages.success(request, f"The roles of {member.user} are saved.")
            return redirect("access", workspace=workspace)
    return _person(request, member, form, status=422 if request.method == "POST" else 200)


def _remove(request: PageRequest, member: Membership) -> HttpResponse:
    form = _rights(request, member)
    if request.POST["confirm"].strip().lower() != member.user.email:
        return _person(request, member, form, error=NOT_TYPED, status=422)
    try:
        services.remove_member(member, by=request)
    except NotPossible as error:
        return _person(request, member, form, error=str(error), status=422)
    messages.success(request, f"{member.user} is no longer in {request.workspace}.")
    left = member.user_id == request.user.pk
    return redirect("home") if left else redirect("access", workspace=request.workspace.slug)


def _rights(request: PageRequest, member: Membership, entries: Any = None) -> Rights:
    held, origins = dict(services.grants_of(member)), read.origins_in_spaces(member)
    return Rights(entries, initial={"role": member.role}, spaces=_spaces(request), held=held, origins=origins)


def _person(request: PageRequest, member: Membership, form: Rights, *, error: str = "", status: int) -> HttpResponse:
    context = {
        "form": form,
        "member": member,
        "error": error,
        "here": reverse("access-person", args=[request.workspace.slug, member.user.public_id]),
        "about": f"{member.user} loses every role here; their API tokens and invitations stop working.",
    }
    return render(request, "access/person.html", context, status=status)


def _spaces(request: PageRequest) -> list[Space]:
    return list(Space.objects.filter(workspace=request.workspace).order_by("kind", "name", "id"))


def _origin(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")
