"""What was deleted in a workspace, and how far the erasing of it is."""

from typing import Any

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
    """Newest first. While anything is being erased the page looks again by itself."""
    found, pager = listed(request, Deletion.objects.filter(workspace=request.workspace), order="-id")
    rows = [_row(deletion) for deletion in found]
    context = {"rows": rows, "pager": pager, "running": any(row["percent"] is not None for row in rows)}
    return render(request, "console/deletions.html", context)


def _row(deletion: Deletion) -> dict[str, Any]:
    erasing = deletion.state == Deletion.State.ERASING
    return {
        "deletion": deletion,
        "kind": deletion.get_kind_display(),
        "state": STATES[Deletion.State(deletion.state)],
        "percent": round(100 * deletion.done / max(deletion.total or 0, deletion.done, 1), 1) if erasing else None,
        "tables": sorted(deletion.erased.items()),
    }
