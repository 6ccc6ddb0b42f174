"""Pages about SQL traits: the list, one with its runs, and its form with the first rows beside it."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from access.pages.tables import Pill
from access.requests import PageRequest
from access.services import NotPossible
from audiences import sql_traits as services
from audiences.models import SqlRun, SqlTrait
from audiences.pages.forms import SqlTraitForm
from audiences.rules.schedules import PARTS
from audiences.rules.sql_rows import RowsError
from spaces import personal
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs

RUNS = 20
NOT_DELETED = "The name you typed is not the name of this SQL trait. Nothing was deleted."
PREVIEW, SAVE = "preview", "save"
STATES = {
    SqlRun.State.RUNNING: Pill("Running", "busy"),
    SqlRun.State.DONE: Pill("Done", "good"),
    SqlRun.State.HELD: Pill("Waits for a nod", "warn"),
    SqlRun.State.FAILED: Pill("Failed", "bad"),
}
CHANGED = ("name", "query", "description", *PARTS, "most_nulled")


@needs("space.read")
def sql_traits(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Every SQL trait of the space, with its newest run."""
    rows = request.space.sql_traits.select_related("warehouse").order_by("name", "pk")
    # One query for the newest run of each.
    newest = SqlRun.objects.filter(sql_trait__in=rows).order_by("sql_trait", "-pk").distinct("sql_trait")
    runs = {run.sql_trait_id: run for run in newest}
    shown = [_shown(row, runs.get(row.pk)) for row in rows]
    context = {"rows": shown, "has_warehouse": request.space.warehouses.exists()}
    return render(request, "audiences/sql_traits/sql_traits.html", context)


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(POST=CALLS)
def new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Write a query, look at its first rows, and create the SQL trait."""
    choices = list(request.space.warehouses.order_by("name", "pk").values_list("public_id", "name"))
    if not choices:
        return redirect("warehouses", workspace, space)
    initial = {"every": SqlTrait.Every.DAY, "at": "06:00", "weekday": 0, "time_zone": "UTC", "most_nulled": 20}
    form = SqlTraitForm(request.POST or None, initial=initial, warehouses=choices)
    if request.method == "POST" and form.is_valid() and request.POST.get("act") == SAVE:
        entries = form.cleaned_data
        # Among the choices of the form, so it is there.
        warehouse = request.space.warehouses.get(public_id=entries.pop("warehouse"))
        try:
            row = services.create_sql_trait(request.space, warehouse=warehouse, clock=clock, by=request, **entries)
        except (RowsError, NotPossible) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{row.name} is created. Its first run begins at once.")
            return redirect("sql-trait", workspace, space, row.public_id)
    chosen = request.space.warehouses.filter(public_id=request.POST.get("warehouse", "")).first()
    return _form(request, form, chosen)


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(POST=CALLS)
def edit(request: PageRequest, workspace: str, space: str, sql_trait: str) -> HttpResponse:
    """Change the query or the schedule. They count from the next run on."""
    row = _get_or_404(request, sql_trait)
    form = SqlTraitForm(request.POST or None, initial={name: getattr(row, name) for name in CHANGED})
    if request.method == "POST" and form.is_valid() and request.POST.get("act") == SAVE:
        try:
            services.change_sql_trait(row, clock=clock, by=request, **form.cleaned_data)
        except (RowsError, NotPossible) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{row.name} is saved. It counts from the next run on.")
            return redirect("sql-trait", workspace, space, sql_trait)
    return _form(request, form, row.warehouse, row)


@needs("space.read", POST="space.use")
def sql_trait(request: PageRequest, workspace: str, space: str, sql_trait: str) -> HttpResponse:
    """Its query, its traits, and its runs. A POST does one of ACTIONS (`do`), or deletes it (`confirm`)."""
    row, error = _get_or_404(request, sql_trait), ""
    act = request.POST.get("do", "")
    if "confirm" in request.POST:
        if request.POST["confirm"] == row.name:
            services.delete_sql_trait(row, by=request)
            messages.success(request, f"{row.name} is deleted. What it said stays with the people.")
            return redirect("sql-traits", workspace, space)
        error = NOT_DELETED
    elif act in ("run", "approve"):
        services.run_now(row, approved=act == "approve", clock=clock, by=request)
        messages.success(request, "A run begins.")
        return redirect(request.path)
    elif act in ("enable", "disable"):
        services.change_sql_trait(row, enabled=act == "enable", clock=clock, by=request)
        messages.success(request, f"{row.name} is {act}d.")
        return redirect(request.path)
    runs = list(row.runs.order_by("-pk")[:RUNS])
    newest = runs[0] if runs else None
    context = {
        **_shown(row, newest),
        "runs": [{"run": run, "state": STATES[SqlRun.State(run.state)]} for run in runs],
        "held": newest is not None and newest.state == SqlRun.State.HELD,
        "pending": row.enabled and (row.claimed_at is not None or (row.next_at and row.next_at <= clock.now())),
        "error": error,
    }
    return render(request, "audiences/sql_traits/sql_trait.html", context, status=422 if error else 200)


def _form(request: PageRequest, form: SqlTraitForm, warehouse: Any, row: SqlTrait | None = None) -> HttpResponse:
    """The form, with the first rows or why there are none, when they were asked for."""
    context: dict[str, Any] = {"form": form, "row": row, "warehouse": warehouse}
    # An incomplete form can be looked at: only the query and the warehouse count.
    looked = request.method == "POST" and request.POST.get("act") == PREVIEW
    if looked and warehouse is not None:
        try:
            preview = services.preview_sql(warehouse, request.POST.get("query", ""))
        except RowsError as error:
            context["problem"] = str(error)
        else:
            context["preview"] = preview
            context["rows"] = [
                (
                    personal.value(preview.id, one.identifier),
                    [personal.payload({name: one.values[name]})[name] for name in preview.traits],
                    one.known,
                )
                for one in preview.rows
            ]
    if request.htmx:
        return render(request, "audiences/sql_traits/_preview.html", context)
    refused = request.method == "POST" and not looked
    return render(request, "audiences/sql_traits/form.html", context, status=422 if refused else 200)


def _shown(row: SqlTrait, newest: SqlRun | None) -> dict[str, Any]:
    pill = STATES[SqlRun.State(newest.state)] if newest else Pill("Not run yet", "busy")
    return {"row": row, "newest": newest, "state": pill if row.enabled else Pill("Disabled"), "schedule": row.schedule}


def _get_or_404(request: PageRequest, public_id: str) -> SqlTrait:
    return get_object_or_404(request.space.sql_traits.select_related("warehouse"), public_id=public_id)
