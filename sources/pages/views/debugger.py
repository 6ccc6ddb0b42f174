"""The debugger of a source: its newest messages as they come in, and those that were rejected."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages as flash
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import filtered_by
from access.requests import PageRequest, origin_of
from sources import queries, services
from sources.events.properties import stays_out_of_spaces
from sources.models import Source
from sources.pages import message_view
from sources.pages.snippets import snippets
from sources.pages.views import rejected
from sources.pages.views.source import NO_KEY, base_context, get_source_or_404, live_pager, write_keys
from sources.rules.spec import TYPES
from spaces.needs import needs

# As many digits as the columns hold: a longer number would be an error of the store's.
PLACE = re.compile(r"(\d{1,18})\.(\d{1,9})", re.ASCII)


@needs("sources.read", POST="sources.edit")
def page(request: PageRequest, workspace: str, source_id: str, wake: Callable[[int], object]) -> HttpResponse:
    """The newest messages, live or paused, or the rejected ones with the reason. A POST sends a test event.

    wake: called with the source's id once the test event waits, as it is for any other event.
    """
    source = get_source_or_404(request, source_id)
    if request.method == "POST":
        services.send_test(source, by=request)
        wake(source.pk)
        flash.success(request, "A test event is on its way. It is in the list once it is archived.")
        return redirect("source-debugger", workspace=workspace, source_id=source_id)
    url = reverse("source-debugger", args=[request.workspace.slug, source.public_id])
    refused = request.GET.get("show") == "rejected"
    context = base_context(request, source, here="source-debugger") | {
        "counts": queries.count_messages([source])[source.pk],
        "lists": [
            {"label": "Newest messages", "url": url, "here": not refused},
            {"label": "Rejected", "url": f"{url}?show=rejected", "here": refused},
        ],
    }
    if refused:
        search, messages = rejected.search_context(request, source), rejected.list_context(request, source)
        return render(request, "sources/rejected.html", context | search | messages)
    types = _types(request)
    # The live switch, the search and the types are each a parameter of the URL, so that a look can be passed on.
    search = {
        "wanted": filtered_by(request),
        "types": [(type, type in types) for type in TYPES],
        "live_url": _address(request, request.path),
        "pause_url": _address(request, request.path, live="0"),
    }
    return render(request, "sources/debugger.html", context | search | _list_context(request, source))


@needs("sources.read")
def messages(request: PageRequest, workspace: str, source_id: str) -> HttpResponse:
    """The messages archived after `?after=`; without it, the whole list."""
    source = get_source_or_404(request, source_id)
    template = "sources/_arrived.html" if _after(request) else "sources/_messages.html"
    return render(request, template, {"source": source} | _list_context(request, source))


def _list_context(request: PageRequest, source: Source) -> dict[str, Any]:
    """The messages, the URL that polls for newer ones, and the links to older ones and back."""
    after, before = _after(request), _place(request.GET.get("before", ""))
    wanted, types = filtered_by(request), _types(request)
    if after:  # only what is new: the page keeps what it shows, and puts these on top
        newest = queries.NewestMessages(
            queries.arrived_messages(source, after=after, types=types, wanted=wanted), older=None
        )
    else:
        newest = queries.newest_messages(source, before=before, types=types, wanted=wanted)
    last = (newest.rows[0]["piece"], newest.rows[0]["position"]) if newest.rows else after
    parameters = [("q", wanted), *(("type", type) for type in types), ("after", _format_place(last))]
    poll = reverse("source-messages", args=[request.workspace.slug, source.public_id])
    page = reverse("source-debugger", args=[request.workspace.slug, source.public_id])
    back = _address(request, page) if before else ""
    older = _address(request, page, before=_format_place(newest.older)) if newest.older else ""
    keys = write_keys(request, source)
    return {
        "rows": [_message(row) for row in newest.rows],
        "poll": f"{poll}?{urlencode([(name, value) for name, value in parameters if value])}",
        "live": request.GET.get("live") != "0" and before is None,
        "sought": bool(wanted or types),
        "before": _format_place(before),
        # As many as fit came since the last look: there may be others between these and what the page shows.
        "gap": bool(after) and len(newest.rows) == queries.SHOWN,
        "pager": live_pager(back, older, shown=len(newest.rows)),
        "first": snippets("http", key=(keys or [NO_KEY])[0], url=origin_of(request), reveal=not keys)[0],
    }


def _message(row: dict[str, Any]) -> dict[str, Any]:
    message = message_view.parse_message(row["message"])
    who = message_view.identifier(message)
    name = str(row["event"] or message.get("name") or who)
    return {
        "id": f"m-{row['piece']}-{row['position']}",
        "type": row["type"],
        "name": name,
        "who": who if who != name else "",
        "received_at": row["received_at"],
        "at": row["ts"],
        "sections": message_view.sections(message),
        "raw": message_view.format_json(row["message"]),
        "stays_out": stays_out_of_spaces(message),
    }


def _types(request: PageRequest) -> list[str]:
    return [type for type in request.GET.getlist("type") if type in TYPES]


def _after(request: PageRequest) -> tuple[int, int] | None:
    return _place(request.GET.get("after", ""))


def _place(text: str) -> tuple[int, int] | None:
    """A row of the source's archive, from a URL parameter such as 12.34; None when it is not one."""
    match = PLACE.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def _format_place(place: tuple[int, int] | None) -> str:
    return f"{place[0]}.{place[1]}" if place else ""


def _address(request: PageRequest, page: str, **places: str) -> str:
    """The page's URL with the same search and these parameters."""
    search = [(name, value) for name in ("q", "type") for value in request.GET.getlist(name) if value]
    query = urlencode([*search, *places.items()])
    return f"{page}?{query}" if query else page
