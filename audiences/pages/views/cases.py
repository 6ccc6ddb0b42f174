"""The test cases of an audience or a computed trait: what comes of each, and the form of one."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from access.requests import PageRequest
from access.services import NotPossible
from audiences import cases, services, suggestions
from audiences.cases import CaseOutcome
from audiences.failures import unreadable
from audiences.models import Audience
from audiences.overview import audiences_of, overview, traits_of
from audiences.pages.case_forms import CaseForms, with_another_row
from audiences.rules.cases import MOST_CASES
from audiences.rules.validation import DefinitionError
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs


@needs("space.read", POST="space.use")
@lane(QUERIES)
def audience_cases(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """What comes of each test case now. A POST removes the one with the id `remove`."""
    row = get_object_or_404(audiences_of(request.space), public_id=audience)
    return _cases(request, row, "audiences/cases.html", {"audience": row})


@needs("space.read", POST="space.use")
@lane(QUERIES)
def trait_cases(request: PageRequest, workspace: str, space: str, trait: str) -> HttpResponse:
    """The same of a computed trait."""
    row = get_object_or_404(traits_of(request.space), public_id=trait)
    return _cases(request, row, "audiences/traits/cases.html", {"trait": row, "details": overview(row)})


@needs("space.use")
def audience_case(request: PageRequest, workspace: str, space: str, audience: str, case: str = "") -> HttpResponse:
    """Describe a test case, or change one."""
    return _case(request, get_object_or_404(audiences_of(request.space), public_id=audience), case)


@needs("space.use")
def trait_case(request: PageRequest, workspace: str, space: str, trait: str, case: str = "") -> HttpResponse:
    """The same of a computed trait."""
    return _case(request, get_object_or_404(traits_of(request.space), public_id=trait), case)


def _cases(request: PageRequest, row: Audience, template: str, context: dict[str, Any]) -> HttpResponse:
    if "remove" in request.POST:
        try:
            services.remove_case(row, request.POST["remove"], by=request)
        except NotPossible as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, "The test case is removed.")
        return redirect(request.path)
    outcomes: list[CaseOutcome] = []
    error = ""
    try:
        # At each look: what a case comes to depends on other audiences and traits, which may have changed.
        outcomes = cases.run(row)
    except DefinitionError as refusal:
        error = unreadable(refusal)
    context |= {
        "outcomes": [(outcome, _url(row, request, outcome.kept.id)) for outcome in outcomes],
        "new_url": _url(row, request),
        "full": len(row.cases) >= MOST_CASES,
        "none": cases.why_none(row),
        "error": error,
    }
    return render(request, template, context)


def _case(request: PageRequest, row: Audience, id: str) -> HttpResponse:
    kept = next((one for one in cases.kept_of(row) if one.id == id), None)
    if id and kept is None:
        raise Http404
    listing = _listing(row, request)
    case = kept.case if kept else None
    # What a form shows in seconds must come back from it unchanged.
    now = clock.now().replace(microsecond=0)
    if request.method != "POST":
        return _render_case(request, row, CaseForms(case, of=row, at=now), id)
    # `add:events` is a button of the form: it adds a row and saves nothing.
    verb, _, of = request.POST.get("act", "").partition(":")
    if verb == "add":
        data = with_another_row(request.POST, of)
        return _render_case(request, row, CaseForms(case, data, of=row, at=now), id, opened=of)
    entered = CaseForms(case, request.POST, of=row, at=now)
    described = entered.read()
    if described is None:
        return _render_case(request, row, entered, id, status=422)
    try:
        if kept is None:
            services.add_case(row, described, by=request)
        else:
            services.change_case(row, kept.id, described, by=request)
    except NotPossible as refusal:
        entered.form.add_error(None, str(refusal))
        return _render_case(request, row, entered, id, status=422)
    messages.success(request, "The test case is saved. It is asked whenever the definition is saved.")
    return redirect(listing)


def _render_case(
    request: PageRequest, row: Audience, entered: CaseForms, id: str, *, opened: str = "", status: int = 200
) -> HttpResponse:
    """opened: of what a row was added, which then has the focus."""
    context = {
        "row": row,
        "is_new": not id,
        "entered": entered,
        "opened": opened,
        "listing": _listing(row, request),
        "counts_since": row.events_since,
        "events": suggestions.events(request.space),
    }
    return render(request, "audiences/case.html", context, status=status)


def _listing(row: Audience, request: PageRequest) -> str:
    name = "computed-trait-cases" if row.kind == Audience.Kind.TRAIT else "audience-cases"
    return reverse(name, args=[request.workspace.slug, request.space.slug, row.public_id])


def _url(row: Audience, request: PageRequest, id: str = "") -> str:
    name = "computed-trait-case" if row.kind == Audience.Kind.TRAIT else "audience-case"
    args = [request.workspace.slug, request.space.slug, row.public_id]
    return reverse(name, args=[*args, id]) if id else reverse(f"{name}-new", args=args)
