"""The audit trail: who changed what, when, and from where."""

import json
from typing import Any

from django.http.response import HttpResponseBase
from django.shortcuts import render

from access import queries
from access.models import AuditEntry
from access.pages.tables import Column, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from spaces.needs import needs

COLUMNS = (
    Column("at", "When", "at"),
    Column("who", "Who", "actor__email"),
    Column("action", "What", "action"),
    Column("target", "Of what", "target"),
    Column("address", "From", "address"),
)
LIST: dict[str, Any] = {
    "columns": COLUMNS,
    "sort": "-at",
    "search": ("action", "target", "actor__email", "address", "token__name"),
}
HEADER = ("at", "who", "token", "address", "action", "target", "detail")


@needs("workspace.manage")
def audit_trail(request: PageRequest, workspace: str) -> HttpResponseBase:
    """Newest first; also as CSV."""
    entries = queries.audit_trail(request.workspace)
    if wants_csv(request):
        # Streamed a part at a time: a trail of years is not held in memory.
        lines = map(_csv_row, arranged(request, entries, **LIST).iterator(chunk_size=500))
        return exported(request, "audit", HEADER, lines)
    table = tabled(request, entries, **LIST)
    rows = [
        {
            "entry": entry,
            "what": entry.action.replace(".", " ").replace("_", " ").capitalize(),  # space.deleted: Space deleted
            "detail": json.dumps(entry.detail, indent=2, ensure_ascii=False) if entry.detail else "",
        }
        for entry in table.rows
    ]
    return render(request, "access/audit.html", {"table": table, "pager": table.pager, "rows": rows})


def _csv_row(entry: AuditEntry) -> tuple[Any, ...]:
    # An actor or a token may be gone by now; the entry stays.
    who, token = entry.actor.email if entry.actor else "", entry.token.name if entry.token else ""
    return entry.at, who, token, entry.address, entry.action, entry.target, json.dumps(entry.detail)
