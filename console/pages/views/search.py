"""The search page of a workspace."""

from django.http import HttpResponse
from django.shortcuts import redirect, render

from access.requests import PageRequest
from console import search as queries
from spaces.needs import needs

LONGEST = 500  # characters of an identifier; the search box of every page has the same limit


@needs("workspace.read")
def search(request: PageRequest, workspace: str) -> HttpResponse:
    """Redirects to the only exact hit, or to the only hit at all; otherwise lists the hits."""
    text = request.GET.get("q", "").strip()[:LONGEST]
    hits = queries.search(request.membership, text) if text else []
    best = [hit for hit in hits if hit.exact] or hits
    if len(best) == 1:
        return redirect(best[0].url)
    return render(request, "console/search.html", {"wanted": text, "hits": hits})
