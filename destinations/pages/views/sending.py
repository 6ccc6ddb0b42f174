"""Pages about one subscription: of whom what is sent, the tester, and what the destination says that it holds."""

import re
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from access.requests import PageRequest
from access.services import NotPossible
from destinations import holdings, queries, services
from destinations.adapters import adapter_of
from destinations.models import Subscription
from destinations.pages.presenters import shown_request, status
from destinations.rehearsal import rehearse, send_test
from destinations.rules.mapping import DEEPEST, NORMALISERS, PROPERTIES
from destinations.rules.sending import ANY, OPERATORS
from destinations.rules.sending_form import FUNCTIONS, SOURCES, rows_given, rows_of, sending_of
from identity.models import Profile
from identity.pages.presenters import search
from identity.queries import COLLECTIONS, living, seen_types
from identity.rules.policy import DEFAULT_TYPES, policy_of
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs
from spaces.settings_schema import InvalidSetting

LONGEST = 500  # characters of an identifier that is looked up
DIRECTIONS = {"": None, "in": True, "out": False}


@needs("space.read", POST="space.use")
def sending(request: PageRequest, workspace: str, space: str, subscription: str) -> HttpResponse:
    """Identifiers, fields, filters, consent and the cap, with the calls that they lead to for a person beside them.

    A POST saves (`do=save`), or shows the same form with a further row, or with what its rules, unsaved, come to.
    """
    row = get_subscription_or_404(request, subscription)
    rows = rows_of(queries.sending_of(row), _offered(row))
    # What is saved, until a form says otherwise: the calls beside it are of these rules.
    given, error = dict(row.sending), None
    if request.method == "POST":
        rows = rows_given(lambda name: request.POST.get(name, ""), more=request.POST.get("do") == "more")
        try:
            given = sending_of(rows)
            if request.POST.get("do") == "save":
                services.change_subscription(row, sending=given, by=request)
                messages.success(request, "Saved. Whoever should be there now, or no longer, goes at once.")
                return redirect(request.path)
        except InvalidSetting as refusal:
            error = refusal
    person = _person(request, row)
    rehearsal = None
    if person is not None and error is None:
        try:
            # As if they entered: an exit would show nothing of the fields.
            rehearsal = rehearse(row, person, now=clock.now(), entering=True, sending=given)
        except InvalidSetting as refusal:
            error = refusal
    context = {
        **_about(row, request),
        "sources": SOURCES,
        "functions": FUNCTIONS,
        "operators": OPERATORS,
        "normalisers": NORMALISERS,
        "properties": PROPERTIES,
        "deepest": DEEPEST,
        "own_types": ANY in queries.known_types(row.destination, row.audience.of),
        "takes_fields": adapter_of(row.destination.kind).capabilities.fields is not None,
        "rows": rows,
        **{name: _with_error(name, getattr(rows, name), error) for name in ("identifiers", "fields", "only")},
        "error": error,
        "rehearsal": rehearsal,
        "requests": [shown_request(call) for call in rehearsal.requests] if rehearsal else [],
    }
    # Only of a save: what is half typed while one looks is no failure.
    failed = request.method == "POST" and error is not None and request.POST.get("do") == "save"
    return render(request, "destinations/sending.html", context, status=422 if failed else 200)


@needs("space.read", POST="space.use")
@lane(POST=CALLS)
def tester(request: PageRequest, workspace: str, space: str, subscription: str) -> HttpResponse:
    """The exact calls about one person. A POST makes them, and says what the answers mean for each identifier."""
    row = get_subscription_or_404(request, subscription)
    person = _person(request, row)
    direction = request.POST.get("direction") or request.GET.get("direction", "")
    entering = DIRECTIONS.get(direction)
    rehearsal, failure = None, ""
    if person is not None and request.method == "POST":
        try:
            rehearsal = send_test(row, person, now=clock.now(), entering=entering, by=request)
        except NotPossible as error:
            failure = str(error)
    elif person is not None:
        rehearsal = rehearse(row, person, now=clock.now(), entering=entering)
    context = {
        **_about(row, request),
        "direction": direction if direction in DIRECTIONS else "",
        "person": person,
        "failure": failure,
        "rehearsal": rehearsal,
        "requests": [shown_request(call) for call in rehearsal.requests] if rehearsal else [],
        "sent": request.method == "POST" and rehearsal is not None,
    }
    return render(request, "destinations/tester.html", context)


def get_subscription_or_404(request: PageRequest, public_id: str) -> Subscription:
    rows = request.space.subscriptions.select_related("audience", "destination", "space")
    row = get_object_or_404(rows, public_id=public_id, audience__deleted_at=None)
    return row


def _about(row: Subscription, request: PageRequest) -> dict[str, Any]:
    wanted = (request.POST.get("person") or request.GET.get("person", "")).strip()[:LONGEST]
    return {"row": row, "pill": status(row), "label": adapter_of(row.destination.kind).label, "wanted": wanted}


def _with_error(name: str, rows: Sequence[Any], error: InvalidSetting | None) -> list[tuple[Any, str]]:
    """Each row with what is wrong with it: the error names it by its place, as `fields[1].value`."""
    place = re.match(rf"{name}\[(\d+)\]", error.field) if error else None
    return [(row, str(error) if place and int(place[1]) == number else "") for number, row in enumerate(rows)]


def _offered(row: Subscription) -> list[str]:
    """The types of identifiers that the form lists: those that the destination knows, and that somebody here has."""
    known = queries.known_types(row.destination, row.audience.of)
    named = [type for type in known if type != ANY]
    if ANY not in known:
        return named
    types = dict.fromkeys([*DEFAULT_TYPES, *policy_of(row.space.identity_policy).rank])
    return [*named, *(type for type in sorted(seen_types(row.space, [*types])) if type not in named)]


def _person(request: PageRequest, row: Subscription) -> Profile | None:
    """Whoever was asked for by an identifier; else somebody who is in the audience, or any person of the space."""
    text = (request.POST.get("person") or request.GET.get("person", "")).strip()[:LONGEST]
    if text:
        return search(request.space, text).order_by("number").first()
    members = queries.desired_members(row)
    # An audience may be empty still; the preview is of whoever there is.
    people = living(request.space, COLLECTIONS[row.audience.of])
    return people.filter(number=members[0]).first() if members else people.order_by("number").first()


@needs("space.read", POST="space.use")
@lane(CALLS)
def reconciliation(request: PageRequest, workspace: str, space: str, subscription: str) -> HttpResponse:
    """Who is missing over there and who is there without belonging, read at this moment. A POST sends what differs."""
    row = get_subscription_or_404(request, subscription)
    if request.method == "POST":
        try:
            differed = holdings.mend(row, by=request)
        except NotPossible as error:
            messages.info(request, f"{error}.")
        else:
            messages.success(request, f"{differed:,} identifiers differed. What is right is sent within seconds.")
        return redirect(request.path)
    # Of a tool that cannot be asked, or does not answer, the page says so.
    result, unread, wrong = None, "", ""
    try:
        result = holdings.holdings(row)
    except holdings.CannotBeAsked as error:
        unread = error.reason
    except NotPossible as error:
        wrong = str(error)
    context = {
        "row": row,
        "pill": status(row),
        "label": adapter_of(row.destination.kind).label,
        "unread": unread,
        "holdings": result,
        "wrong": wrong,
    }
    return render(request, "destinations/reconciliation.html", context)
