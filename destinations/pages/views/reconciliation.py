"""What a destination itself says that it holds, against whom it should hold; what differs can be mended."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from access.requests import PageRequest
from access.services import NotPossible
from destinations import holdings
from destinations.adapters import adapter_of
from destinations.pages.presenters import status
from destinations.pages.views.sending import get_subscription_or_404
from spaces.lanes import CALLS, lane
from spaces.needs import needs


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
    readable, result, wrong = holdings.readable(row), None, ""
    try:
        result = holdings.holdings(row) if readable else None
    except NotPossible as error:
        wrong = str(error)
    context = {
        "row": row,
        "pill": status(row),
        "label": adapter_of(row.destination.kind).label,
        "readable": readable,
        "holdings": result,
        "wrong": wrong,
    }
    return render(request, "destinations/reconciliation.html", context)
