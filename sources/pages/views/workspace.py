"""The sources of a workspace: the list of them, and a new one."""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from access.pages.tables import Column, Pill, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from sources import queries, services
from sources.models import Source
from sources.pages.forms import SourceForm
from sources.services import SourceError
from spaces.needs import needs

COLUMNS = (
    Column("name", "Source", "name"),
    Column("enabled", "Status", "enabled"),
    Column("archived", "Archived", "tally__archived", num=True),
    Column("doubled", "Duplicates", "tally__doubled", num=True),
    Column("rejected", "Rejected", "tally__rejected", num=True),
    Column("waiting", "Requests waiting", num=True),
    Column("last", "Last received", "tally__last_received_at", num=True),
)
HEADER = ("id", "name", "kind", "enabled", "archived", "doubled", "rejected", "last_received_at")
LIST: dict[str, Any] = {"columns": COLUMNS, "sort": "name", "search": ("name", "slug", "public_id")}


def enabled(source: Source) -> Pill:
    return Pill("Enabled", "good") if source.enabled else Pill("Disabled")


@needs("sources.read")
def sources(request: PageRequest, workspace: str) -> HttpResponseBase:
    """The sources of the workspace with their message counts; also as CSV."""
    all_sources = Source.objects.filter(workspace=request.workspace).select_related("tally")
    if wants_csv(request):
        return exported(request, "sources", HEADER, _csv_lines(arranged(request, all_sources, **LIST)))
    table = tabled(request, all_sources, **LIST)
    counts = queries.count_messages(table.rows)
    rows = [
        {
            "source": source,
            "enabled": enabled(source),
            "counts": counts[source.pk],
            "last": queries.last_received(source),
        }
        for source in table.rows
    ]
    return render(request, "sources/sources.html", {"table": table, "pager": table.pager, "rows": rows})


@needs("sources.edit")
def new(request: PageRequest, workspace: str) -> HttpResponse:
    """The form of a new source. On success it leads to the set-up page."""
    form = SourceForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            source = services.create_source(request.workspace, by=request, **form.cleaned_data)
        except SourceError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"{source.name} is created. Send its first event.")
            return redirect("source-setup", workspace=workspace, source_id=source.public_id)
    return render(request, "sources/new.html", {"form": form}, status=422 if form.errors else 200)


def _csv_lines(sources: QuerySet[Source]) -> Iterator[tuple[Any, ...]]:
    # A generator over a cursor: a workspace of any number of sources is never in memory as a whole.
    for source in sources.iterator(chunk_size=500):
        # Without `waiting`: that is true for a moment only, and a file is read later.
        tally = getattr(source, "tally", None)
        counts = (tally.archived, tally.doubled, tally.rejected) if tally else (0, 0, 0)
        last = queries.last_received(source) or ""
        yield source.public_id, source.name, source.kind, "yes" if source.enabled else "no", *counts, last
