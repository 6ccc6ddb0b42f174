"""Pages about warehouses: the list, a new one, and one with its settings, a test and its end."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from access.pages.declared_forms import declared_form
from access.requests import PageRequest
from access.services import NotPossible
from audiences import sql_traits as services
from audiences.models import Warehouse
from audiences.pages.forms import WarehouseName
from audiences.warehouses import all_warehouses
from spaces.lanes import CALLS, lane
from spaces.needs import needs
from spaces.settings_schema import InvalidSetting, masked

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
    named = WarehouseName(request.POST or None, initial={"name": about.label})
    settings = declared_form(about.settings, prefix="settings", data=request.POST or None)
    if request.method == "POST" and all([named.is_valid(), settings.is_valid()]):
        try:
            row = services.create_warehouse(
                request.space, kind=kind, name=named.cleaned_data["name"], settings=settings.given, by=request
            )
        except InvalidSetting as error:
            settings.refuse(error)
        else:
            _tell(request, row)
            return redirect("warehouse", workspace, space, row.public_id)
    context = {"about": about, "named": named, "settings": settings}
    status = 422 if request.method == "POST" else 200
    return render(request, "audiences/warehouses/new.html", context, status=status)


@needs("space.read", POST="space.admin")
@lane(POST=CALLS)
def warehouse(request: PageRequest, workspace: str, space: str, warehouse: str) -> HttpResponse:
    """One warehouse. A POST tests it (`do`), deletes it (`confirm`), or saves its settings."""
    row = get_object_or_404(request.space.warehouses, public_id=warehouse)
    values = masked(services.settings_of(row))
    declared, error = all_warehouses()[row.kind].settings, ""
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
    named = WarehouseName(data, initial={"name": row.name})
    settings = declared_form(declared, prefix="settings", data=data, values=values)
    if data is not None and all([named.is_valid(), settings.is_valid()]):
        try:
            services.change_warehouse(row, name=named.cleaned_data["name"], settings=settings.given, by=request)
        except InvalidSetting as refused:
            settings.refuse(refused)
        else:
            _tell(request, row)
            return redirect(request.path)
    context = {
        "warehouse": row,
        "about": all_warehouses()[row.kind],
        "traits": row.sql_traits.order_by("name"),
        "named": named,
        "settings": settings,
        "facts": [(field.label, values[field.html_name.removeprefix("settings-")]) for field in settings],
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
