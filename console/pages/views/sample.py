"""The page of the sample data: add it, watch it arrive, remove it."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from access.requests import PageRequest
from access.services import NotPossible
from console.models import Sample
from console.sample import AUDIENCES, add_sample, remove_sample
from sources import queries as sources
from sources.models import Replay, Source
from spaces.needs import needs


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
