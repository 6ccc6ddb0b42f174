"""Spaces as such: all of them, a new one, its name, and its end."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from access import services
from access.pages.tables import Column, arranged, csv_of, tabled, wants_csv
from access.requests import PageRequest
from console.checklist import SpaceFacts
from console.pages.forms import NewSpace, SpaceName
from console.space_stats import standings
from identity.policies import create_space_with_rules
from spaces.models import Space
from spaces.needs import needs

COLUMNS = (
    Column("name", "Space", "name"),
    Column("kind", "Kind", "kind"),
    Column("rules", "Identity rules"),
    Column("sources", "Sources", num=True),
    Column("profiles", "Profiles", num=True),
    Column("audiences", "Audiences", num=True),
    Column("created", "Created", "created_at"),
)
HEADER = ("Space", "Kind", "Sources", "Profiles", "Audiences", "Created")
WRONG_NAME = "The name that was typed is not that of this space. Nothing was deleted."


@needs("workspace.read")
def spaces(request: PageRequest, workspace: str) -> HttpResponseBase:
    """The spaces that you can see, each with what is in it."""
    rows = services.spaces_of(request.membership)
    if wants_csv(request):
        found = list(arranged(request, rows, columns=COLUMNS, sort="name", search=("name",)))
        return csv_of("spaces", HEADER, map(_cells, found, standings(found).values()))
    table = tabled(request, rows, columns=COLUMNS, sort="name", search=("name",))
    known = standings(table.rows)
    context = {"table": table, "rows": [{"space": space, "facts": known[space.pk]} for space in table.rows]}
    return render(request, "console/spaces.html", context)


def _cells(space: Space, facts: SpaceFacts) -> list[Any]:
    kind = space.get_kind_display()
    return [space.name, kind, facts.sources, facts.people, facts.audiences, space.created_at]


@needs("workspace.manage")
def space_new(request: PageRequest, workspace: str) -> HttpResponse:
    """A name, Dev or Prod, and the rules of identity; then one is in the new space."""
    others = list(services.spaces_of(request.membership).order_by("kind", "name", "id"))
    form = NewSpace(request.POST or None, spaces=others)
    if request.method == "POST" and form.is_valid():
        entries = form.cleaned_data
        made = create_space_with_rules(
            request.workspace, name=entries["name"], kind=entries["kind"], policy=form.policy, by=request
        )
        messages.success(request, f"The space “{made.name}” is there. Connect a source to fill it.")
        if form.wants_own_rules:
            return redirect(f"{reverse('identity-settings', args=[workspace, made.slug])}?edit=1")
        return redirect("space", workspace, made.slug)
    return render(request, "console/space_new.html", {"form": form}, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.admin")
def space_settings(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The name of the space and what it is for; its address stays as it is."""
    kept = {"name": request.space.name, "kind": request.space.kind}
    form = SpaceName(request.POST or None, initial=kept)
    if request.method == "POST" and form.is_valid():
        services.change_space(request.space, by=request, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("space-settings", workspace, space)
    return render(request, "console/space_settings.html", {"form": form}, status=422 if request.method == "POST" else 200)


@needs("workspace.manage")
def space_delete(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What goes when the space goes; and it goes, once its name was typed."""
    within, error = request.space, ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() == within.name:
            services.delete_space(within, by=request)
            messages.success(request, f"The space “{within.name}” is gone.")
            return redirect("spaces", workspace)
        error = WRONG_NAME
    facts = standings([within])[within.pk]
    context = {"facts": facts, "destinations": within.destinations.count(), "error": error}
    return render(request, "console/space_delete.html", context, status=422 if error else 200)
