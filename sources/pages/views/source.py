"""One source: what it received, how to send with it, and its settings."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.charts import bars
from access.pages.tables import Column, Pager, arranged, csv_of, tabled, wants_csv
from access.requests import PageRequest
from access.services import spaces_of
from sources import queries, services
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


def leaves(newest: str, older: str, *, shown: int) -> Pager:
    """Older rows are a page of their own, which stands still. newest: the way back from it; "" on the live list."""
    return Pager(newest, older, f"{shown} {'older' if newest else 'newest'} shown", back="Newest", on="Older")


def one(request: PageRequest, source: str) -> Source:
    """The source of this workspace with that id. Raises Http404."""
    found = queries.sources_of(request.workspace).filter(public_id=source).first()
    if found is None:
        raise Http404
    return found


def around(request: PageRequest, source: Source, *, here: str) -> dict[str, Any]:
    """What every page of a source shows around itself."""
    args = [request.workspace.slug, source.public_id]
    tabs = [
        {"label": label, "url": reverse(name, args=args), "here": name == here}
        for name, label, need in TABS
        if request.membership.may(need)
    ]
    return {"source": source, "enabled": enabled(source), "source_tabs": tabs}


@needs("sources.read")
def overview(request: PageRequest, workspace: str, source: str) -> HttpResponseBase:
    """What came in: the figures, the days, and the names of its events."""
    found = one(request, source)
    seen = queries.event_names_of(found)
    if wants_csv(request):
        rows = arranged(request, seen, **LIST)
        return csv_of(f"{found.slug}-events", HEADER, rows.values_list(*HEADER).iterator(chunk_size=500))
    table = tabled(request, seen, **LIST)
    days = queries.events_by_day(found, now=clock.now(), days=DAYS)
    context = around(request, found, here="source") | {
        "fate": queries.fates([found])[found.pk],
        "last": queries.last_received(found),
        "table": table,
        "pager": table.pager,
        "chart": bars([(f"{day:%d %b}", count) for day, count in days], label=f"Events a day, last {DAYS} days"),
        "recent": sum(count for _, count in days),
        "days": DAYS,
        "spaces": spaces_of(request.membership).filter(pk__in=queries.listeners(found)).order_by("kind", "name"),
    }
    return render(request, "sources/source.html", context)


@needs("sources.read", POST="sources.edit")
def setup(request: PageRequest, workspace: str, source: str) -> HttpResponse:
    """The write keys, for those who may edit sources, and how to send with one. A POST adds a key."""
    found = one(request, source)
    if request.method == "POST":
        services.add_write_key(found, by=request)
        messages.success(request, "There is one more write key. The others go on working.")
        return redirect("source-setup", workspace=workspace, source=source)
    reveal = request.GET.get("reveal") == "1"
    keys = write_keys(request, found)
    context = around(request, found, here="source-setup") | {
        "keys": [
            {"key": key, "shown": key if reveal else masked(key), "copy": f"key-{number}"}
            for number, key in enumerate(keys, 1)
        ],
        "snippets": snippets(key=(keys or [NO_KEY])[0], url=home(request), reveal=reveal or not keys),
        "url": home(request),
        "reveal": reveal,
    }
    return render(request, "sources/setup.html", context)


@needs("sources.edit")
def remove_key(request: PageRequest, workspace: str, source: str, key: str) -> HttpResponse:
    """Asked first, then done."""
    found = one(request, source)
    if key not in write_keys(request, found):
        raise Http404
    if request.method == "POST":
        services.remove_write_key(found, key, by=request)
        messages.success(request, "The write key is removed. Whoever sends with it is refused from now on.")
        return redirect("source-setup", workspace=workspace, source=source)
    only = len(found.write_keys.all()) == 1
    context = around(request, found, here="source-setup") | {"shown": masked(key), "only": only, "url": request.path}
    return render(request, "sources/remove_key.html", context)


@needs("sources.edit")
def settings(request: PageRequest, workspace: str, source: str) -> HttpResponse:
    """Its name, its kind, and what can be switched."""
    found = one(request, source)
    now = {field: getattr(found, field) for field in SourceSettings.base_fields}
    form = SourceSettings(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        services.update_source(found, by=request, **form.cleaned_data)
        messages.success(request, "Saved. What it means for sending takes effect within five seconds.")
        return redirect("source-settings", workspace=workspace, source=source)
    context = around(request, one(request, source), here="source-settings") | _end(found) | {"form": form}
    return render(request, "sources/settings.html", context, status=422 if form.errors else 200)


@needs("sources.edit")
def delete(request: PageRequest, workspace: str, source: str) -> HttpResponse:
    """Gone, once its name was typed."""
    found = one(request, source)
    wrong = request.method == "POST" and request.POST.get("confirm", "").strip() != found.name
    if request.method == "POST" and not wrong:
        services.delete_source(found, by=request)
        messages.success(request, f"{found.name} is deleted.")
        return redirect("sources", workspace=workspace)
    context = around(request, found, here="source-settings") | _end(found) | {"wrong": wrong}
    return render(request, "sources/delete.html", context, status=422 if wrong else 200)


def write_keys(request: PageRequest, source: Source) -> list[str]:
    """Oldest first; none for those who may not edit sources."""
    keys = source.write_keys.all() if request.membership.may("sources.edit") else []
    return [key.key for key in sorted(keys, key=lambda key: key.pk)]


def home(request: PageRequest) -> str:
    """Where events are sent to: this very address, as the browser reached it."""
    return request.build_absolute_uri("/").rstrip("/")


def _end(source: Source) -> dict[str, Any]:
    """What would go with it."""
    return {"fate": queries.fates([source])[source.pk], "listeners": len(queries.listeners(source))}
