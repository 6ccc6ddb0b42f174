"""The home page of a workspace: the checklist of the eight steps, and its spaces."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import Pill
from access.pages.views.account import YEAR_S
from access.requests import PageRequest
from access.services import spaces_of
from console.checklist import health, steps
from console.links import first_page
from console.space_stats import space_facts, workspace_facts
from spaces.needs import needs

HIDDEN = "steps-hidden"  # a cookie for this workspace's URLs alone: numbers of hidden steps, such as 2.5
ALL = range(1, 9)


@needs("workspace.read")
def workspace(request: PageRequest, workspace: str) -> HttpResponse:
    """The steps that are not hidden, and each space with its figures. A POST hides or shows steps."""
    hidden = {number for number in ALL if str(number) in request.COOKIES.get(HIDDEN, "").split(".")}
    if request.method == "POST":
        return _change_hidden(request, hidden)
    member = request.membership
    spaces = list(spaces_of(member).order_by("kind", "name", "id"))
    facts = space_facts(spaces)
    manages = member.may("workspace.manage")
    # Without a space and without the right to create one, there is no step that this member could take.
    shown = steps(workspace_facts(request.workspace, spaces, facts), hidden=hidden) if spaces or manages else []
    rows = []
    for step in shown:
        space = next((space for space in spaces if space.slug == step.space), None)
        # A step inside a space has no page as long as there is no such space, or none that this member may see.
        url = first_page(member, step.pages, space, step.ids) if space or not step.need.startswith("space.") else ""
        rows.append({"step": step, "url": url, "may": bool(url) and member.may(step.need, space)})
    done = sum(step.done for step in shown)
    context = {
        "steps": rows,
        "done": done,
        "complete": done == len(shown),
        "hidden": len(hidden),
        "spaces": [
            {
                "space": space,
                "url": reverse("space", args=[workspace, space.slug]),
                "facts": facts[space.pk],
                "health": Pill(*health(facts[space.pk])),
            }
            for space in spaces
        ],
        "new_space": first_page(member, ["space-new"]),
        "manages": manages,
        "role": member.get_role_display(),
    }
    return render(request, "console/home.html", context)


def _change_hidden(request: PageRequest, hidden: set[int]) -> HttpResponse:
    """Hides all steps or one of them, or shows all again, and goes back to the page."""
    home, action = reverse("workspace", args=[request.workspace.slug]), request.POST.get("steps", "")
    response = redirect(home)
    if action == "show":
        # With the path it was set with: the browser keeps it otherwise.
        response.delete_cookie(HIDDEN, path=home, samesite="Lax")
        return response
    numbers = set(ALL) if action == "hide" else hidden | {number for number in ALL if str(number) == action}
    value = ".".join(str(number) for number in sorted(numbers))
    # A cookie, so that the server already leaves the steps out; nothing moves after the page has loaded.
    response.set_cookie(HIDDEN, value, max_age=YEAR_S, path=home, samesite="Lax", secure=request.is_secure())
    return response
