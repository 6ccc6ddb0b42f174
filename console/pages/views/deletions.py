"""What was deleted in a workspace, and how far erasing its data is."""

from django.http import HttpResponse
from django.shortcuts import render

from access.pages.tables import Pill, listed
from access.requests import PageRequest
from spaces.models import Deletion
from spaces.needs import needs

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
