"""The debugger's list of rejected messages: live or paused, searched by code and text, leafed through."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages as notes
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import Pager, filtered_by, row_number
from access.requests import PageRequest
from sources import queries, services
from sources.models import Reject, Source
from sources.pages import message_view
from sources.pages.views.source import leaves, one
from spaces.needs import needs


@needs("sources.read", POST="sources.edit")
def rejects(request: PageRequest, workspace: str, source: str, wake: Callable[[int], object]) -> HttpResponse:
    """What was rejected after `?after=`; the whole list where there was nothing yet. A POST drives again.

    It names one reject, or a search for all that match. wake: called with the source's id once requests of it wait.
    """
    found = one(request, source)
    if request.method == "POST":
        count = services.retry_rejects(found, _chosen(request, found), by=request)
        wake(found.pk)
        notes.success(request, _told(count)) if count else notes.warning(request, _told(count))
        kept = {name: value for name in ("code", "q") if (value := request.POST.get(name))}
        page = reverse("source-debugger", args=[workspace, source])
        return redirect(f"{page}?{urlencode({'show': 'rejected'} | kept)}")
    template = "sources/_refused.html" if _number(request, "after") else "sources/_rejects.html"
    return render(request, template, {"source": found} | listed(request, found))


def _chosen(request: PageRequest, source: Source) -> QuerySet[Reject]:
    if "reject" in request.POST:
        return queries.rejects_of(source).filter(pk=row_number(request.POST["reject"]) or 0)
    code, wanted = request.POST.get("code", "")[:40], request.POST.get("q", "")
    return queries.sought_rejects(source, code=code, wanted=wanted)


def _told(count: int) -> str:
    if not count:
        return "There is nothing here that can be driven again, or it is on its way already."
    those = "One message is" if count == 1 else f"{count:,} messages are"
    more = " There may be more: ask once more." if count >= services.MOST_RETRIED else ""
    return f"{those} driven again. What is refused again comes back to this list, with the reason of today.{more}"


def listed(request: PageRequest, source: Source) -> dict[str, Any]:
    """The rows, the address at which newer ones are to be had, and the links to older ones and back."""
    after, before, wanted, code = (
        _number(request, "after"),
        _number(request, "before"),
        filtered_by(request),
        _code(request),
    )
    if after:
        found = queries.Rejects(queries.arrived_rejects(source, after=after, code=code, wanted=wanted), older=None)
    else:
        found = queries.newest_rejects(source, before=before, code=code, wanted=wanted)
    last = found.rows[0].pk if found.rows else after
    asked = {"q": wanted, "code": code, "after": str(last or "")}
    poll = reverse("source-rejects", args=[request.workspace.slug, source.public_id])
    return {
        "rows": [_reject(row) for row in found.rows],
        "poll": f"{poll}?{urlencode({name: value for name, value in asked.items() if value})}",
        "live": request.GET.get("live") != "0" and not before,
        "sought": bool(wanted or code),
        "before": before,
        "gap": bool(after) and len(found.rows) == queries.SHOWN,
        "pager": _pager(request, source, found, before),
    }


def controls(request: PageRequest, source: Source) -> dict[str, Any]:
    """Live or pause, the search, and the codes: each a place in the address. A code that is asked for is a choice."""
    code, codes = _code(request), queries.reject_codes(source)
    return {
        "wanted": filtered_by(request),
        "code": code,
        "retriable": queries.retriable(queries.rejects_of(source)).exists(),
        "codes": codes if not code or code in dict(codes) else [*codes, (code, 0)],
        "live_url": _address(request, request.path),
        "pause_url": _address(request, request.path, live="0"),
    }


def _pager(request: PageRequest, source: Source, found: queries.Rejects, before: int | None) -> Pager:
    page = reverse("source-debugger", args=[request.workspace.slug, source.public_id])
    newest = _address(request, page) if before else ""
    older = _address(request, page, before=str(found.older)) if found.older else ""
    return leaves(newest, older, shown=len(found.rows))


def _reject(row: Reject) -> dict[str, Any]:
    return {
        "reject": row,
        "id": f"r-{row.pk}",
        "sections": message_view.told(message_view.read(row.message)),
        "raw": message_view.raw(row.message),
    }


def _code(request: PageRequest) -> str:
    return request.GET.get("code", "")[:40]


def _number(request: PageRequest, name: str) -> int | None:
    return row_number(request.GET.get(name, ""))


def _address(request: PageRequest, page: str, **places: str) -> str:
    """The page with the same search, and these places."""
    kept = {name: value for name in ("q", "code") if (value := request.GET.get(name))}
    return f"{page}?{urlencode({'show': 'rejected'} | kept | places)}"
