"""Pages of a workspace: its home with the checklist, the search, the sample data, and what was deleted."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import Pill, listed
from access.pages.views.account import YEAR_S
from access.requests import PageRequest
from access.services import NotPossible, spaces_of
from console import search as queries
from console.checklist import health, steps
from console.links import first_page
from console.models import Sample
from console.sample import AUDIENCES, add_sample, remove_sample
from console.space_stats import space_facts, workspace_facts
from sources import queries as sources
from sources.models import Replay, Source
from spaces.models import Deletion
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


LONGEST = 500  # characters of an identifier; the search box of every page has the same limit


@needs("workspace.read")
def search(request: PageRequest, workspace: str) -> HttpResponse:
    """Redirects to the only exact hit, or to the only hit at all; otherwise lists the hits."""
    text = request.GET.get("q", "").strip()[:LONGEST]
    hits = queries.search(request.membership, text) if text else []
    best = [hit for hit in hits if hit.exact] or hits
    if len(best) == 1:
        return redirect(best[0].url)
    return render(request, "console/search.html", {"wanted": text, "hits": hits})


@needs("workspace.manage")
def sample(request: PageRequest, workspace: str) -> HttpResponse:
    """GET shows the progress. A POST adds or removes the sample data."""
    sample = Sample.objects.select_related("space").filter(workspace=request.workspace).first()
    if request.method == "POST":
        try:
            if request.POST.get("do") == "remove" and sample:
                remove_sample(sample, by=request)
                messages.success(request, "The sample data was removed.")
            elif request.POST.get("do") == "add":
                add_sample(request.workspace, by=request)
        except NotPossible as error:
            messages.error(request, str(error))
        return redirect("sample", workspace=workspace)
    context = {"sample": sample, "audiences": AUDIENCES, "progress": _progress(sample) if sample else None}
    return render(request, "console/sample.html", context)


def _progress(sample: Sample) -> dict[str, Any]:
    """percent: of the whole way, as long as its phases usually take; text: what is happening now, in numbers."""
    if sample.state == Sample.Phase.SENDING:
        return {"percent": round(30 * sample.sent / sample.total), "text": f"{sample.sent:,} of {sample.total:,} sent"}
    if sample.state == Sample.Phase.ARCHIVING:
        # Nothing counts up in this phase: the bar stands at 40 until it is over.
        sample_sources = Source.objects.filter(pk__in=sample.sources.values())
        waiting = sum(counts.waiting for counts in sources.count_messages(sample_sources).values())
        return {"percent": 40, "text": f"{waiting:,} requests are waiting to be archived"}
    # The newest: one that was cancelled by hand and started again counts from the beginning.
    replay = Replay.objects.filter(space=sample.space_id).order_by("-pk").first()
    if sample.state == Sample.Phase.REPLAYING and replay:
        share = replay.done / max(replay.total, 1)
        return {"percent": 50 + round(50 * share), "text": f"{replay.done:,} of {replay.total:,} events replayed"}
    return {"percent": 100, "text": "All of it is there"}


STATES = {
    Deletion.State.ERASING: Pill("Erasing", "busy"),
    Deletion.State.CHECKING: Pill("Erased, to be checked", "good"),
    Deletion.State.DONE: Pill("Erased and checked", "good"),
}


@needs("workspace.manage")
def deletions(request: PageRequest, workspace: str) -> HttpResponse:
    """The deletions, newest first. While one is being erased the page refreshes itself."""
    page, pager = listed(request, Deletion.objects.filter(workspace=request.workspace), order="-id")
    rows = [
        {
            "deletion": deletion,
            "kind": deletion.get_kind_display(),
            "state": STATES[Deletion.State(deletion.state)],
            "erasing": deletion.state == Deletion.State.ERASING,
            # The total is an estimate and can turn out too low: the share never passes 100.
            "percent": round(100 * deletion.done / max(deletion.total or 0, deletion.done, 1), 1),
            "tables": sorted(deletion.erased.items()),
        }
        for deletion in page
    ]
    context = {"rows": rows, "pager": pager, "running": any(row["erasing"] for row in rows)}
    return render(request, "console/deletions.html", context)
