"""The members of an audience as a file: of which format, with which columns, and hashed or not."""

import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256

import pyarrow
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from pyarrow import parquet

from access.pages.tables import exported
from access.requests import PageRequest
from access.services import audit
from audiences.pages import presenters
from audiences.pages.forms import DownloadForm
from audiences.pages.views.audiences import pill_of
from spaces.chunks import chunks
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

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
