"""The debugger of a source: its newest messages as they come in, and those that were rejected."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages as notes
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import Pager, filtered_by
from access.requests import PageRequest
from sources import queries, services
from sources.models import Source
from sources.pages import message_view
from sources.pages.snippets import snippets
from sources.pages.views import rejected
from sources.pages.views.source import NO_KEY, around, home, leaves, one, write_keys
from sources.rules.spec import TYPES, stays_out_of_spaces
from spaces.needs import needs

PLACE = re.compile(r"(\d{1,18})\.(\d{1,9})", re.ASCII)


@needs("sources.read", POST="sources.edit")
def page(request: PageRequest, workspace: str, source: str, wake: Callable[[int], object]) -> HttpResponse:
    """Newest messages, live or paused; or what was rejected, and why. A POST sends a test event.

    wake: called with the source's id once the test event waits, as it is for any other event.
    """
    found = one(request, source)
    if request.method == "POST":
        services.send_test(found, by=request)
        wake(found.pk)
        notes.success(request, "A test event is on its way. It is in the list once it is archived.")
        return redirect("source-debugger", workspace=workspace, source=source)
    context = around(request, found, here="source-debugger") | {
        "fate": queries.fates([found])[found.pk],
        "lists": _lists(request, found),
    }
    if request.GET.get("show") == "rejected":
        return render(
            request,
            "sources/rejected.html",
            context | rejected.controls(request, found) | rejected.listed(request, found),
        )
    return render(request, "sources/debugger.html", context | _controls(request) | _newest(request, found))


@needs("sources.read")
def messages(request: PageRequest, workspace: str, source: str) -> HttpResponse:
    """What came in after `?after=`; the whole list where there was nothing yet."""
    found = one(request, source)
    template = "sources/_arrived.html" if _after(request) else "sources/_messages.html"
    return render(request, template, {"source": found} | _newest(request, found))


def _newest(request: PageRequest, source: Source) -> dict[str, Any]:
    """The rows, the address at which newer ones are to be had, and the links to older ones and back."""
    after, before, wanted, types = _after(request), _before(request), filtered_by(request), _types(request)
    if after:
        found = queries.Newest(queries.arrived_messages(source, after=after, types=types, wanted=wanted), older=None)
    else:
        found = queries.newest_messages(source, before=before, types=types, wanted=wanted)
    last = (found.rows[0]["piece"], found.rows[0]["position"]) if found.rows else after
    asked = [("q", wanted), *(("type", type) for type in types), ("after", _written(last))]
    poll = reverse("source-messages", args=[request.workspace.slug, source.public_id])
    keys = write_keys(request, source)
    return {
        "rows": [_message(row) for row in found.rows],
        "poll": f"{poll}?{urlencode([(name, value) for name, value in asked if value])}",
        "live": _is_live(request),
        "sought": bool(wanted or types),
        "before": _written(before),
        "gap": bool(after) and len(found.rows) == queries.SHOWN,
        "pager": _pager(request, source, found, before),
        "first": snippets(key=(keys or [NO_KEY])[0], url=home(request), reveal=not keys)[0],
    }


def _pager(request: PageRequest, source: Source, found: queries.Newest, before: tuple[int, int] | None) -> Pager:
    page = reverse("source-debugger", args=[request.workspace.slug, source.public_id])
    newest = _address(request, page) if before else ""
    older = _address(request, page, before=_written(found.older)) if found.older else ""
    return leaves(newest, older, shown=len(found.rows))


def _message(row: dict[str, Any]) -> dict[str, Any]:
    message = message_view.read(row["message"])
    who = message_view.who(message)
    name = str(row["event"] or message.get("name") or who)
    return {
        "id": f"m-{row['piece']}-{row['position']}",
        "type": row["type"],
        "name": name,
        "who": who if who != name else "",
        "received_at": row["received_at"],
        "at": row["ts"],
        "sections": message_view.told(message),
        "raw": message_view.raw(row["message"]),
        "stays_out": stays_out_of_spaces(message),
    }


def _controls(request: PageRequest) -> dict[str, Any]:
    """Live or pause, the search, and the types: each a place in the address."""
    types = _types(request)
    return {
        "wanted": filtered_by(request),
        "types": [(type, type in types) for type in TYPES],
        "live_url": _address(request, request.path),
        "pause_url": _address(request, request.path, live="0"),
    }


def _lists(request: PageRequest, source: Source) -> list[dict[str, Any]]:
    url = reverse("source-debugger", args=[request.workspace.slug, source.public_id])
    here = request.GET.get("show") == "rejected"
    return [
        {"label": "Newest messages", "url": url, "here": not here},
        {"label": "Rejected", "url": f"{url}?show=rejected", "here": here},
    ]


def _is_live(request: PageRequest) -> bool:
    return request.GET.get("live") != "0" and _before(request) is None


def _types(request: PageRequest) -> list[str]:
    return [type for type in request.GET.getlist("type") if type in TYPES]


def _after(request: PageRequest) -> tuple[int, int] | None:
    return _place(request.GET.get("after", ""))


def _before(request: PageRequest) -> tuple[int, int] | None:
    return _place(request.GET.get("before", ""))


def _place(text: str) -> tuple[int, int] | None:
    """A row of the source's archive, as an address names it."""
    found = PLACE.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def _written(place: tuple[int, int] | None) -> str:
    return f"{place[0]}.{place[1]}" if place else ""


def _address(request: PageRequest, page: str, **places: str) -> str:
    """The page with the same search, and these places."""
    kept = [(name, value) for name in ("q", "type") for value in request.GET.getlist(name) if value]
    query = urlencode([*kept, *places.items()])
    return f"{page}?{query}" if query else page
