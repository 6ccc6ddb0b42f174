"""The page about one computed trait: its values, and where they are sent."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from access.requests import PageRequest
from audiences import overview, services, trait_overview, trait_values
from audiences.distribution import distribution
from audiences.pages.views.traits import MOST_SPREAD, SAMPLE, get_trait_or_404, header
from destinations.pages.presenters import with_tallies
from spaces.lanes import QUERIES, lane
from spaces.needs import needs


@needs("space.read", POST="space.use")
@lane(QUERIES)
def computed_trait(request: PageRequest, workspace: str, space: str, trait: str) -> HttpResponse:
    """How it is computed, who has which value, which audiences ask about it, and its destinations.

    A POST enables or disables it.
    """
    details = get_trait_or_404(request, trait)
    row = details.audience
    if request.method == "POST":
        if (action := request.POST.get("do", "")) in ("enable", "disable"):
            services.change_audience(row, enabled=action == "enable", by=request)
            messages.success(request, f"{row.name} is {action}d.")
        return redirect(request.path)
    definition = trait_overview.definition_of(row)
    kept = trait_values.kept(request.space, row.pk, most=MOST_SPREAD) if row.serving else {}
    spread = distribution([trait_overview.readable(definition, value) for value in kept.values()])
    subscriptions = row.subscriptions.select_related("audience", "destination")
    context = {
        **header(details),
        "exact_at": details.exact_at or overview.as_of(request.space),
        "computing": row.serving is None and details.problem is None,
        "spread": spread,
        "partly": len(kept) == MOST_SPREAD,
        "people": trait_overview.sample(request.space, kept, SAMPLE, definition),
        "asking": services.asking(row),
        "going": with_tallies(list(subscriptions.order_by("destination__name", "id"))),
    }
    return render(request, "console/computed_trait.html", context)
