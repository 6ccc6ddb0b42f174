"""The page of the sample data: what it is, how far it is, out again."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from access.requests import PageRequest
from access.services import NotPossible
from console import sample as data
from console.models import Sample
from sources import queries as sources
from sources.models import Replay, Source
from spaces.needs import needs


@needs("workspace.manage")
def sample(request: PageRequest, workspace: str) -> HttpResponse:
    """GET shows how far it is. A POST brings it in or takes it out."""
    found = Sample.objects.select_related("space").filter(workspace=request.workspace).first()
    if request.method == "POST":
        _change(request, found)
        return redirect("sample", workspace=workspace)
    context = {"sample": found, "audiences": data.AUDIENCES, "progress": _progress(found) if found else None}
    return render(request, "console/sample.html", context)


def _change(request: PageRequest, found: Sample | None) -> None:
    try:
        if request.POST.get("do") == "remove" and found:
            data.remove_sample(found, by=request)
            messages.success(request, "The sample data is gone.")
        elif request.POST.get("do") == "add":
            data.add_sample(request.workspace, by=request)
    except NotPossible as error:
        messages.error(request, str(error))


def _progress(sample: Sample) -> dict[str, Any]:
    """per_cent of the whole way; text: what is going on, in numbers."""
    if sample.state == Sample.State.SENDING:
        return {"per_cent": round(30 * sample.sent / sample.total), "text": f"{sample.sent:,} of {sample.total:,} sent"}
    if sample.state == Sample.State.ARCHIVING:
        waiting = sum(fate.waiting for fate in sources.fates(_sources(sample)).values())
        return {"per_cent": 40, "text": f"{waiting:,} requests are waiting to be archived"}
    replay = Replay.objects.filter(space=sample.space_id).order_by("-pk").first()
    if sample.state == Sample.State.REPLAYING and replay:
        share = replay.done / max(replay.total, 1)
        return {"per_cent": 50 + round(50 * share), "text": f"{replay.done:,} of {replay.total:,} events replayed"}
    return {"per_cent": 100, "text": "All of it is there"}


def _sources(sample: Sample) -> Any:
    return Source.objects.filter(pk__in=sample.sources.values())
