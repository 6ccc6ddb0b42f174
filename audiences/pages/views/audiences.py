"""Pages about audiences: the list, an audience at other moments, and its members as a file."""

import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import pyarrow
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from pyarrow import parquet

from access.pages.charts import spark
from access.pages.tables import Column, Pill, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from access.services import NotPossible, audit
from audiences import history, overview
from audiences.models import Audience
from audiences.overview import Overview
from audiences.pages import builder, presenters
from audiences.pages.forms import BetweenForm, DownloadForm
from audiences.pages.lists import Nouns, changed_several, filtered, link_labels, list_context, rows_on_a_page
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.validation import DefinitionError
from spaces.chunks import chunks
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
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


ROWS_AT_ONCE = 10_000  # of a Parquet file's row group
HASHED = ("email", "other_identifiers")
Row = Sequence[str]


@needs("space.pii")
@lane(QUERIES)
def download(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponseBase:
    """The form; with `?format=` the file. What is taken out is in the audit trail."""
    details = presenters.overview_or_404(request.space, audience)
    row = details.audience
    asked = "format" in request.GET
    form = DownloadForm(request.GET if asked else None, initial={"columns": list(presenters.DOWNLOAD)})
    if not (asked and form.is_valid()):
        context = {"audience": row, "seen": details, "state": pill_of(details), "form": form}
        return render(request, "audiences/download.html", context, status=422 if asked else 200)
    columns = form.cleaned_data["columns"]
    places = [presenters.DOWNLOAD.index(name) for name in columns]
    rows: Iterator[Row] = ([member[place] for place in places] for member in presenters.download(row))
    if form.cleaned_data["hashed"]:
        rows = (
            [_hashed(value) if name in HASHED else value for name, value in zip(columns, row, strict=True)]
            for row in rows
        )
    if form.cleaned_data["format"] == "csv":
        return exported(request, row.key, columns, rows)
    # `exported` notes it of a CSV file; this one is sent otherwise.
    audit(request, "exported", request.workspace, page=request.path)
    return _parquet(row.key, columns, rows)


def _hashed(values: str) -> str:
    """Addresses and other identifiers as advertising tools take them: SHA-256 of the text in lower case, as hex. Of
    several, each."""
    parted = values.split(presenters.BETWEEN) if values else []
    return presenters.BETWEEN.join(sha256(value.strip().lower().encode()).hexdigest() for value in parted)


def _parquet(name: str, columns: Sequence[str], rows: Iterator[Row]) -> HttpResponse | FileResponse:
    """A file of texts, written in parts: a million members do not fit into memory."""
    schema = pyarrow.schema([(column, pyarrow.string()) for column in columns])
    # A file without a name: it is gone with the process, whatever happens.
    file = tempfile.TemporaryFile()  # noqa: SIM115, the response closes it
    with parquet.ParquetWriter(file, schema) as writer:
        for some in chunks(rows, ROWS_AT_ONCE):
            by_column = [list(values) for values in zip(*some, strict=True)]
            writer.write_table(pyarrow.table(dict(zip(columns, by_column, strict=True)), schema=schema))
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=f"{name}.parquet")


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
