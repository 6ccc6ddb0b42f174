"""Pages about audiences: the list."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render

from access.pages.charts import spark
from access.pages.tables import Column, Pill, arranged, exported, tabled, url_with, wants_csv
from access.requests import PageRequest
from audiences import overview
from audiences.models import Audience
from audiences.overview import Overview
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
COLUMNS = (
    Column("name", "Audience", "name"),
    Column("status", "Status", "rank"),
    Column("size", "People", "size", num=True),
    Column("changed", "Lately", "changed_at"),
    Column("created", "Created", "pk"),
)
SEARCHED = ("name", "key", "description")
IN_CSV = ("name", "key", "description", "sentence", "status", "people", "last_change", "created", "labels")


@needs("space.read")
def audiences(request: PageRequest, workspace: str, space: str) -> HttpResponse | StreamingHttpResponse:
    """Every audience of the space: who is meant, how many they are, how that went lately, and as of when."""
    everything = overview.audiences_of(request.space)
    rows = overview.listed(overview.labelled(everything, wanted_label(request)))
    listing: dict[str, Any] = {"columns": COLUMNS, "sort": "-created", "search": SEARCHED}
    if wants_csv(request):
        overviews = overview.overviews(request.space, arranged(request, rows, **listing))
        return exported(request, "audiences", IN_CSV, map(_line, overviews))
    table = tabled(request, rows, **listing)
    sizes = overview.sizes_of(table.rows)
    context = {
        "table": table,
        "rows": [
            _row(request, listed, sizes.get(listed.audience.pk, []))
            for listed in overview.overviews(request.space, table.rows)
        ],
        "as_of": overview.as_of(request.space),
        **labels_shown(request, everything),
    }
    return render(request, "audiences/audiences.html", context)


@dataclass(frozen=True)
class LabelLink:
    """A label, and the list of what has it. here: it is that list."""

    label: str
    url: str
    here: bool


def wanted_label(request: HttpRequest) -> str:
    """By which label a list is filtered; "" by none."""
    return request.GET.get("label", "").strip()


def labels_shown(request: HttpRequest, rows: QuerySet[Audience]) -> dict[str, Any]:
    """What a list shows of labels. rows: what it would show without any filter."""
    wanted = wanted_label(request)
    links = link_labels(request, overview.labels_of(rows))
    return {"label": wanted, "labels": links, "no_label_url": url_with(request, label=""), "kept": _kept(request)}


def link_labels(request: HttpRequest, labels: Iterable[str]) -> list[LabelLink]:
    wanted = wanted_label(request)
    return [LabelLink(label, url_with(request, label=label), here=label == wanted) for label in labels]


def _kept(request: HttpRequest) -> list[tuple[str, str]]:
    """What of the address the filter box leaves as it is."""
    return [(name, request.GET[name]) for name in ("label",) if request.GET.get(name)]


def _row(request: HttpRequest, listed: Overview, sizes: list[tuple[datetime, int]]) -> dict[str, Any]:
    """sizes: after each of the last changes, oldest first."""
    return {
        "spark": spark([size for _, size in sizes]),
        "spark_label": f"From {sizes[0][1]:,} to {sizes[-1][1]:,} people in {len(sizes)} changes" if sizes else "",
        "changed_at": sizes[-1][0] if sizes else None,
        "audience": listed.audience,
        "labels": link_labels(request, listed.audience.labels),
        "sentence": listed.sentence,
        "state": UPDATING if listed.updating else STATUSES[listed.status],
        "seen": listed,
        "problem": listed.problem,
    }


def _line(listed: Overview) -> list[Any]:
    audience = listed.audience
    state = UPDATING if listed.updating else STATUSES[listed.status]
    cells = [audience.name, audience.key, audience.description, listed.sentence, state.label, audience.size]
    return [*cells, audience.changed_at, audience.created_at, ", ".join(audience.labels)]  # type: ignore[attr-defined]
