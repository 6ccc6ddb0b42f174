"""The page about an audience at other moments: who was in it, who came and went, and who will be."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from access.pages.tables import exported
from access.requests import PageRequest
from access.services import NotPossible
from audiences import history
from audiences.overview import Overview
from audiences.pages import builder, presenters
from audiences.pages.forms import BetweenForm
from audiences.pages.views.audiences import pill_of
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.validation import DefinitionError
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

DAYS = 7  # that are foretold, and looked back at first


@needs("space.read")
@lane(QUERIES)
def audience_history(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """Who was in it at `?since=` and `?until=`, how many came and went in between, and how it goes on by time alone."""
    details, now = presenters.overview_or_404(request.space, audience), clock.now()
    form, moments = _between(request, now)
    movement, error = None, ""
    if not form.errors:
        try:
            movement = history.movement(details.audience, moments["since"], moments["until"], now)
        except NotPossible as refusal:
            error = str(refusal)
    context = {
        "audience": details.audience,
        "seen": details,
        "state": pill_of(details),
        "form": form,
        "movement": movement,
        "query": urlencode({name: moment.isoformat() for name, moment in moments.items()}),
        "error": error,
        **_forecast(details, now),  # a full query for each day: the page is in the lane of queries
    }
    return render(request, "audiences/history.html", context)


@needs("space.pii")
@lane(QUERIES)
def history_people(request: PageRequest, workspace: str, space: str, audience: str, side: str) -> HttpResponseBase:
    """Whoever was in it at `?until=` (`after`), entered, or left, as a CSV file."""
    details, now = presenters.overview_or_404(request.space, audience), clock.now()
    form, moments = _between(request, now)
    if side not in ("after", "entered", "left") or form.errors:
        raise Http404
    try:
        movement = history.movement(details.audience, moments["since"], moments["until"], now)
    except NotPossible as refusal:
        raise Http404(str(refusal)) from refusal
    rows = presenters.download(details.audience, getattr(movement, side))
    return exported(request, f"{details.audience.key}-{side}", presenters.DOWNLOAD, rows)


def _between(request: PageRequest, now: datetime) -> tuple[BetweenForm, dict[str, datetime]]:
    """The two moments that the address names; without any, the last days."""
    initial = {"since": now - timedelta(days=DAYS), "until": now}
    # Without moments in the address the form is filled, and nothing in it is wrong.
    form = BetweenForm(request.GET if "since" in request.GET else None, initial=initial)
    return form, form.cleaned_data if form.is_bound and form.is_valid() else initial


def _forecast(details: Overview, now: datetime) -> dict[str, Any]:
    """How many will be in it on each of the next days if no event arrives; or why nobody can say."""
    if details.audience.serving is None:
        return {"forecast": [], "uncertain": "The audience is not computed yet."}
    try:
        days = [now + timedelta(days=day) for day in range(1, DAYS + 1)]
        return {"forecast": history.forecast(details.audience.serving, days)}
    except (NotComputed, DefinitionError) as error:
        return {"forecast": [], "uncertain": str(error)}
    except Unanswerable as error:
        return {"forecast": [], "uncertain": builder.unanswered(error)}
