"""Pages about audiences: the list."""

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render

from access.pages.charts import spark
from access.pages.tables import Column, Pill, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from audiences import overview
from audiences.models import Audience
from audiences.overview import Overview
from audiences.pages.lists import Nouns, changed_several, filtered, link_labels, list_context, rows_on_a_page
from spaces.needs import needs

STATUSES = {
    Audience.Status.COMPUTING: Pill("Computing", "busy"),
    Audience.Status.WAITING: Pill("Waiting", "warn"),
    Audience.Status.LIVE: Pill("Live", "good"),
    Audience.Status.BEHIND: Pill("Behind", "warn"),
    Audience.Status.DISABLED: Pill("Disabled"),
    Audience.Status.FAILED: Pill("Failed", "bad"),
}
UPDATING = Pill("Updating", "busy")
ENDING = Pill("Being deleted", "busy")
COLUMNS = (
    Column("name", "Audience", "name"),
    Column("status", "Status", "rank"),
    Column("size", "People", "size", num=True),
    Column("changed", "Lately", "changed_at"),
    Column("created", "Created", "pk"),
)
SEARCHED = ("name", "key", "description")
IN_CSV = ("name", "key", "description", "sentence", "status", "people", "last_change", "created", "labels", "folder")


@needs("space.read", POST="space.use")
def audiences(request: PageRequest, workspace: str, space: str) -> HttpResponse | StreamingHttpResponse:
    """Every audience of the space: who is meant, how many they are, how that went lately, and as of when.

    A POST changes several of them.
    """
    everything = overview.audiences_of(request.space)
    if request.method == "POST":
        return changed_several(request, everything, Nouns("audience", "audiences"))
    rows = overview.listed(filtered(request, everything))
    listing: dict[str, Any] = {"columns": COLUMNS, "sort": "-created", "search": SEARCHED}
    if wants_csv(request):
        overviews = overview.overviews(request.space, arranged(request, rows, **listing))
        return exported(request, "audiences", IN_CSV, map(csv_line, overviews))
    table = tabled(request, rows, **listing, count=rows_on_a_page(request))
    all_sizes = overview.sizes_of(table.rows)
    rows_shown = []
    for listed in overview.overviews(request.space, table.rows):
        sizes = all_sizes.get(listed.audience.pk, [])  # after each of the last changes, oldest first
        changes = f"From {sizes[0][1]:,} to {sizes[-1][1]:,} people in {len(sizes)} changes" if sizes else ""
        rows_shown.append(
            {
                "spark": spark([size for _, size in sizes]),
                "spark_label": changes,
                "changed_at": sizes[-1][0] if sizes else None,
                "audience": listed.audience,
                "labels": link_labels(request, listed.audience.labels),
                "sentence": listed.sentence,
                "state": pill_of(listed),
                "seen": listed,
                "problem": listed.problem,
            }
        )
    context = {
        "table": table,
        "rows": rows_shown,
        "as_of": overview.as_of(request.space),
        **list_context(request, everything),
    }
    return render(request, "audiences/audiences.html", context)


def pill_of(details: Overview) -> Pill:
    """What is shown as its status."""
    if details.audience.ending_at is not None:
        return ENDING
    return UPDATING if details.updating else STATUSES[details.status]


def csv_line(listed: Overview) -> list[Any]:
    """The cells of IN_CSV."""
    audience = listed.audience
    state = pill_of(listed)
    cells = [audience.name, audience.key, audience.description, listed.sentence, state.label, audience.size]
    return [*cells, audience.changed_at, audience.created_at, ", ".join(audience.labels), audience.folder]  # type: ignore[attr-defined]
