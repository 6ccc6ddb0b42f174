"""One source: what it received, how to send with it, and its settings."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from access.pages.charts import bars
from access.pages.tables import Column, Pager, arranged, exported, tabled, wants_csv
from access.requests import PageRequest, origin_of
from access.services import spaces_of
from sources import queries, scripts, services
from sources.models import Source
from sources.pages.forms import SourceSettings
from sources.pages.snippets import masked, snippets
from sources.pages.views.workspace import enabled
from spaces.clock import clock
from spaces.needs import needs

DAYS = 30
NO_KEY = "YOUR_WRITE_KEY"
TABS = (
    ("source", "Overview", "sources.read"),
    ("source-setup", "Set-up", "sources.read"),
    ("source-debugger", "Debugger", "sources.read"),
    ("source-settings", "Settings", "sources.edit"),
)
COLUMNS = (
    Column("event", "Event", "event"),
    Column("type", "Type", "type"),
    Column("archived", "Seen", "archived", num=True),
    Column("first", "First", "first_seen_at", num=True),
    Column("last", "Last", "last_seen_at", num=True),
)
LIST: dict[str, Any] = {"columns": COLUMNS, "sort": "-archived", "search": ("event", "type")}
HEADER = ("type", "event", "archived", "first_seen_at", "last_seen_at")


def live_pager(newest: str, older: str, *, shown: int) -> Pager:
    """Links of a list that grows at its top. newest: URL of the live list; "" on that list itself."""
    # A page of older rows never polls: what somebody is reading must not move.
    return Pager(newest, older, f"{shown} {'older' if newest else 'newest'} shown", back="Newest", on="Older")


def get_source_or_404(request: PageRequest, source_id: str) -> Source:
    """The source of this workspace with that public id."""
    return get_object_or_404(queries.sources_of(request.workspace), public_id=source_id)


def base_context(request: PageRequest, source: Source, *, here: str) -> dict[str, Any]:
    """What base_source.html needs."""
    args = [request.workspace.slug, source.public_id]
    tabs = [
        {"label": label, "url": reverse(name, args=args), "here": name == here}
        for name, label, need in TABS
        if request.membership.may(need)
    ]
    return {"source": source, "enabled": enabled(source), "source_tabs": tabs}


@needs("sources.read")
def overview(request: PageRequest, workspace: str, source_id: str) -> HttpResponseBase:
    """Message counts, events a day, and the table of event names; that table is also served as CSV."""
    source = get_source_or_404(request, source_id)
    event_names = queries.event_names_of(source)
    if wants_csv(request):
        rows = arranged(request, event_names, **LIST)
        return exported(request, f"{source.slug}-events", HEADER, rows.values_list(*HEADER).iterator(chunk_size=500))
    table = tabled(request, event_names, **LIST)
    days = queries.events_by_day(source, now=clock.now(), days=DAYS)
    context = base_context(request, source, here="source") | {
        "counts": queries.count_messages([source])[source.pk],
        "last": queries.last_received(source),
        "table": table,
        "pager": table.pager,
        "chart": bars([(f"{day:%d %b}", count) for day, count in days], label=f"Events a day, last {DAYS} days"),
        "recent": sum(count for _, count in days),
        "days": DAYS,
        "spaces": spaces_of(request.membership).filter(pk__in=queries.listeners(source)).order_by("kind", "name"),
    }
    return render(request, "sources/source.html", context)


@needs("sources.read", POST="sources.edit")
def setup(request: PageRequest, workspace: str, source_id: str) -> HttpResponse:
    """The write keys, for those who may edit sources, and how to send with one. A POST adds a key."""
    source = get_source_or_404(request, source_id)
    if request.method == "POST":
        services.add_write_key(source, by=request)
        messages.success(request, "Write key added. The other keys keep working.")
        return redirect("source-setup", workspace=workspace, source_id=source_id)
    reveal = request.GET.get("reveal") == "1"
    keys = write_keys(request, source)
    context = base_context(request, source, here="source-setup") | {
        "keys": [
            {"key": key, "shown": key if reveal else masked(key), "copy": f"key-{number}"}
            for number, key in enumerate(keys, 1)
        ],
        # Whoever may not see the keys gets snippets with a place for one: there is nothing to mask in them.
        "snippets": snippets(source.kind, key=(keys or [NO_KEY])[0], url=origin_of(request), reveal=reveal or not keys),
        "scripts_missing": source.kind == Source.SourceKind.WEBSITE and not scripts.is_installed(scripts.ANALYTICS_JS),
        "url": origin_of(request),
        "reveal": reveal,
    }
    return render(request, "sources/setup.html", context)


@needs("sources.edit")
def remove_key(request: PageRequest, workspace: str, source_id: str, key: str) -> HttpResponse:
    """A GET asks for confirmation, a POST removes the key."""
    source = get_source_or_404(request, source_id)
    if key not in write_keys(request, source):
        raise Http404
    if request.method == "POST":
        services.remove_write_key(source, key, by=request)
        messages.success(request, "Write key removed. Requests that use it are refused.")
        return redirect("source-setup", workspace=workspace, source_id=source_id)
    # With its last key a source can receive nothing; that is allowed, and said.
    only = len(source.write_keys.all()) == 1
    context = base_context(request, source, here="source-setup") | {
        "shown": masked(key),
        "only": only,
        "url": request.path,
    }
    return render(request, "sources/remove_key.html", context)


@needs("sources.edit")
def settings(request: PageRequest, workspace: str, source_id: str) -> HttpResponse:
    """The form of the source's name, kind and options."""
    source = get_source_or_404(request, source_id)
    initial = {field: getattr(source, field) for field in SourceSettings.base_fields}
    form = SourceSettings(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        services.update_source(source, by=request, **form.cleaned_data)
        messages.success(request, "Saved. Changes that concern sending take effect within five seconds.")
        return redirect("source-settings", workspace=workspace, source_id=source_id)
    # Read again for what stands around the form: a form with errors must not show a name that was not saved.
    context = (
        base_context(request, get_source_or_404(request, source_id), here="source-settings")
        | _deletion_context(source)
        | {"form": form}
    )
    return render(request, "sources/settings.html", context, status=422 if form.errors else 200)


@needs("sources.edit")
def delete(request: PageRequest, workspace: str, source_id: str) -> HttpResponse:
    """A POST deletes the source when `confirm` is its name."""
    source = get_source_or_404(request, source_id)
    wrong = request.method == "POST" and request.POST.get("confirm", "").strip() != source.name
    if request.method == "POST" and not wrong:
        services.delete_source(source, by=request)
        messages.success(request, f"{source.name} is deleted.")
        return redirect("sources", workspace=workspace)
    context = base_context(request, source, here="source-settings") | _deletion_context(source) | {"wrong": wrong}
    return render(request, "sources/delete.html", context, status=422 if wrong else 200)


def write_keys(request: PageRequest, source: Source) -> list[str]:
    """Oldest first; none for those who may not edit sources."""
    # Sorted here, since they were prefetched: an ORDER BY would be a query for each source of a list.
    keys = source.write_keys.all() if request.membership.may("sources.edit") else []
    return [key.key for key in sorted(keys, key=lambda key: key.pk)]


def _deletion_context(source: Source) -> dict[str, Any]:
    """What is deleted with the source."""
    return {"counts": queries.count_messages([source])[source.pk], "listeners": len(queries.listeners(source))}
