"""The debugger's list of rejected messages: live or paused, searched by code and text, leafed through."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages as flash
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import filtered_by, row_number
from access.requests import PageRequest
from sources import queries, services
from sources.models import Source
from sources.pages import message_view
from sources.pages.views.source import get_source_or_404, live_pager
from spaces.needs import needs


@needs("sources.read", POST="sources.edit")
def rejects(request: PageRequest, workspace: str, source_id: str, wake: Callable[[int], object]) -> HttpResponse:
    """The rejects after `?after=`; without it, the whole list. A POST retries one reject, or all that match a search.

    wake: called with the source's id once requests of it wait.
    """
    source = get_source_or_404(request, source_id)
    if request.method == "POST":
        if "reject" in request.POST:
            chosen = queries.rejects_of(source).filter(pk=row_number(request.POST["reject"]) or 0)
        else:
            code, wanted = request.POST.get("code", "")[:40], request.POST.get("q", "")
            chosen = queries.sought_rejects(source, code=code, wanted=wanted)
        count = services.retry_rejects(source, chosen, by=request)
        wake(source.pk)  # after the commit: a stage that woke up before it would find nothing, and sleep on
        flash.success(request, _retry_message(count)) if count else flash.warning(request, _retry_message(count))
        search = {name: value for name in ("code", "q") if (value := request.POST.get(name))}
        page = reverse("source-debugger", args=[workspace, source_id])
        return redirect(f"{page}?{urlencode({'show': 'rejected'} | search)}")
    template = "sources/_refused.html" if _number(request, "after") else "sources/_rejects.html"
    return render(request, template, {"source": source} | list_context(request, source))


def _retry_message(count: int) -> str:
    if not count:
        return "There is nothing to retry, or it is being retried already."
    retried = "One message is" if count == 1 else f"{count:,} messages are"
    more = " There may be more: retry again." if count >= services.MOST_RETRIED else ""
    return (
        f"{retried} being retried. Messages that are rejected again come back to this list with the new reason.{more}"
    )


def list_context(request: PageRequest, source: Source) -> dict[str, Any]:
    """The rejects, the URL that polls for newer ones, and the links to older ones and back."""
    after, before, wanted, code = (
        _number(request, "after"),
        _number(request, "before"),
        filtered_by(request),
        _code(request),
    )
    if after:  # only what is new, as in the list of messages
        newest = queries.NewestRejects(
            queries.arrived_rejects(source, after=after, code=code, wanted=wanted), older=None
        )
    else:
        newest = queries.newest_rejects(source, before=before, code=code, wanted=wanted)
    last = newest.rows[0].pk if newest.rows else after
    parameters = {"q": wanted, "code": code, "after": str(last or "")}
    poll = reverse("source-rejects", args=[request.workspace.slug, source.public_id])
    page = reverse("source-debugger", args=[request.workspace.slug, source.public_id])
    back = _address(request, page) if before else ""
    older = _address(request, page, before=str(newest.older)) if newest.older else ""
    rows = [
        {
            "reject": reject,
            "id": f"r-{reject.pk}",
            "sections": message_view.sections(message_view.parse_message(reject.message)),
            "raw": message_view.format_json(reject.message),
        }
        for reject in newest.rows
    ]
    return {
        "rows": rows,
        "poll": f"{poll}?{urlencode({name: value for name, value in parameters.items() if value})}",
        "live": request.GET.get("live") != "0" and not before,
        "sought": bool(wanted or code),
        "before": before,
        "gap": bool(after) and len(newest.rows) == queries.SHOWN,
        "pager": live_pager(back, older, shown=len(newest.rows)),
    }


def search_context(request: PageRequest, source: Source) -> dict[str, Any]:
    """The live switch, the search and the codes, the selected one included; each is a parameter of the URL."""
    code, codes = _code(request), queries.reject_codes(source)
    return {
        "wanted": filtered_by(request),
        "code": code,
        "retriable": queries.retriable(queries.rejects_of(source)).exists(),
        # The code that is chosen stays in the list though the last reject of it is gone: it can be taken back there.
        "codes": codes if not code or code in dict(codes) else [*codes, (code, 0)],
        "refused": queries.refused_requests_of(source),
        "live_url": _address(request, request.path),
        "pause_url": _address(request, request.path, live="0"),
    }


def _code(request: PageRequest) -> str:
    return request.GET.get("code", "")[:40]  # as long as the column


def _number(request: PageRequest, name: str) -> int | None:
    return row_number(request.GET.get(name, ""))


def _address(request: PageRequest, page: str, **places: str) -> str:
    """The page's URL with the same search and these parameters."""
    search = {name: value for name in ("q", "code") if (value := request.GET.get(name))}
    return f"{page}?{urlencode({'show': 'rejected'} | search | places)}"
