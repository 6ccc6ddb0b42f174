"""Pages about warehouses: the list, a new one, and one with its settings, a test and its end."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from access.pages.declared_forms import NamedSettings
from access.requests import PageRequest
from access.services import NotPossible
from audiences import sql_traits as services
from audiences.models import Warehouse
from audiences.warehouses import all_warehouses
from spaces.lanes import CALLS, lane
from spaces.needs import needs
from spaces.settings_schema import masked

LIKE = "Shop database"
NOT_DELETED = "The name you typed is not the name of this warehouse. Nothing was deleted."


@needs("space.read")
def warehouses(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The warehouses of the space, and the kinds that there are."""
    rows = request.space.warehouses.order_by("name", "pk").prefetch_related("sql_traits")
    cards = [{"row": row, "label": all_warehouses()[row.kind].label, "traits": row.sql_traits.all()} for row in rows]
    return render(request, "audiences/warehouses/warehouses.html", {"cards": cards, "kinds": all_warehouses()})


@needs("space.admin")
@lane(POST=CALLS)
def new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """A new warehouse of the kind `?kind=`, which is asked for nothing once."""
    kind = request.GET.get("kind", "")
    if kind not in all_warehouses():
        return warehouses(request, workspace, space)
    about = all_warehouses()[kind]
    form = NamedSettings(about.settings, request.POST or None, name=about.label, like=LIKE)
    if form.save(partial(services.create_warehouse, request.space, kind=kind, by=request)):
        _tell(request, form.saved)
        return redirect("warehouse", workspace, space, form.saved.public_id)
    context = {"about": about, **form.context}
    status = 422 if request.method == "POST" else 200
    return render(request, "audiences/warehouses/new.html", context, status=status)


@needs("space.read", POST="space.admin")
@lane(POST=CALLS)
def warehouse(request: PageRequest, workspace: str, space: str, warehouse: str) -> HttpResponse:
    """One warehouse. A POST tests it (`do`), deletes it (`confirm`), or saves its settings."""
    row = get_object_or_404(request.space.warehouses, public_id=warehouse)
    values, error = masked(services.settings_of(row)), ""
    # Bound only where settings were posted: a test and a deletion post none.
    data: Any = None
    if request.POST.get("do") == "test":
        _tell(request, row)
        return redirect(request.path)
    if "confirm" in request.POST:
        if request.POST["confirm"] == row.name:
            try:
                services.delete_warehouse(row, by=request)
            except NotPossible as refusal:
                error = str(refusal)
            else:
                messages.success(request, f"{row.name} is deleted.")
                return redirect("warehouses", workspace, space)
        else:
            error = NOT_DELETED
    elif request.method == "POST":
        data = request.POST
    form = NamedSettings(all_warehouses()[row.kind].settings, data, name=row.name, like=LIKE, values=values)
    if form.save(partial(services.change_warehouse, row, by=request)):
        _tell(request, row)
        return redirect(request.path)
    context = {
        "warehouse": row,
        "about": all_warehouses()[row.kind],
        "traits": row.sql_traits.order_by("name"),
        **form.context,
        "facts": [(field.label, values[field.html_name.removeprefix("settings-")]) for field in form.settings],
        "error": error,
    }
    status = 422 if request.method == "POST" else 200
    return render(request, "audiences/warehouses/warehouse.html", context, status=status)


def _tell(request: PageRequest, row: Warehouse) -> None:
    """Whether it answers, in a message."""
    # Saved in any case: it may be down for the moment, and the settings be right.
    if why := services.test_warehouse(row):
        messages.warning(request, f"{row.name} is saved, but does not answer: {why}")
    else:
        messages.success(request, f"{row.name} answers.")
