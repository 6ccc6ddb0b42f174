"""The first page of a workspace: the eight steps as they stand, and its spaces."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.models import Membership
from access.pages.tables import Pill
from access.pages.views.account import YEAR_S
from access.requests import PageRequest
from access.services import spaces_of
from console.checklist import SpaceFacts, Step, health, steps
from console.pages.links import nearest
from console.space_stats import facts, standings
from spaces.models import Space
from spaces.needs import needs

HIDDEN = "steps-hidden"  # a cookie of the workspace's addresses alone: numbers of steps, as in 2.5
ALL = range(1, 9)


@needs("workspace.read")
def workspace(request: PageRequest, workspace: str) -> HttpResponse:
    """The checklist, without what was hidden of it, and each space with its figures. A POST hides or shows steps."""
    hidden = _hidden(request)
    if request.method == "POST":
        return _remember(request, workspace, hidden)
    member = request.membership
    spaces = list(spaces_of(member).order_by("kind", "name", "id"))
    known = standings(spaces)
    manages = member.may("workspace.manage")
    listed = steps(facts(request.workspace, spaces, known), hidden=hidden) if spaces or manages else []
    done = sum(step.done for step in listed)
    context = {
        "steps": [_entry(step, member, spaces) for step in listed],
        "done": done,
        "complete": done == len(listed),
        "hidden": len(hidden),
        "spaces": [_card(space, known[space.pk], workspace) for space in spaces],
        "new_space": nearest(member, ["space-new"]),
        "manages": manages,
        "role": member.get_role_display(),
    }
    return render(request, "console/home.html", context)


def _hidden(request: PageRequest) -> set[int]:
    return {number for number in ALL if str(number) in request.COOKIES.get(HIDDEN, "").split(".")}


def _remember(request: PageRequest, workspace: str, hidden: set[int]) -> HttpResponse:
    """Which steps are hidden, kept in a cookie, so that the server sends the right page at once."""
    home, asked = reverse("workspace", args=[workspace]), request.POST.get("steps", "")
    response = redirect(home)
    if asked == "show":
        response.delete_cookie(HIDDEN, path=home, samesite="Lax")
        return response
    now = set(ALL) if asked == "hide" else hidden | {number for number in ALL if str(number) == asked}
    kept = ".".join(str(number) for number in sorted(now))
    response.set_cookie(HIDDEN, kept, max_age=YEAR_S, path=home, samesite="Lax", secure=request.is_secure())
    return response


def _entry(step: Step, member: Membership, spaces: Sequence[Space]) -> dict[str, Any]:
    """A step with where it is done, and whether this person may do it."""
    within = next((space for space in spaces if space.slug == step.space), None)
    url = nearest(member, step.pages, within, step.ids) if within or not step.need.startswith("space.") else ""
    return {"step": step, "url": url, "may": bool(url) and member.may(step.need, within)}


def _card(space: Space, known: SpaceFacts, workspace: str) -> dict[str, Any]:
    label, tone = health(known)
    url = reverse("space", args=[workspace, space.slug])
    return {"space": space, "url": url, "facts": known, "health": Pill(label, tone)}
