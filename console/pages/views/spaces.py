"""Pages about spaces: the list, a new one, the settings, and deleting one."""

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from access import services
from access.pages.tables import Column, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from console.pages.forms import NewSpace, SpaceName
from console.space_stats import space_facts
from identity.services import create_space_with_rules
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
# Of the CSV. Identity rules are left out: they do not fit into a cell.
HEADER = ("Space", "Kind", "Sources", "Profiles", "Audiences", "Created")
WRONG_NAME = "The name you typed is not the name of this space. Nothing was deleted."


@needs("workspace.read")
def spaces(request: PageRequest, workspace: str) -> HttpResponseBase:
    """The spaces that this member can see, each with what is in it; as a page or as CSV."""
    visible = services.spaces_of(request.membership)
    if wants_csv(request):
        spaces = list(arranged(request, visible, columns=COLUMNS, sort="name", search=("name",)))
        facts = space_facts(spaces)
        lines = (
            [
                space.name,
                space.get_kind_display(),
                facts[space.pk].sources,
                facts[space.pk].people,
                facts[space.pk].audiences,
                space.created_at,
            ]
            for space in spaces
        )
        return exported(request, "spaces", HEADER, lines)
    table = tabled(request, visible, columns=COLUMNS, sort="name", search=("name",))
    facts = space_facts(table.rows)
    context = {"table": table, "rows": [{"space": space, "facts": facts[space.pk]} for space in table.rows]}
    return render(request, "console/spaces.html", context)


@needs("workspace.manage")
def space_new(request: PageRequest, workspace: str) -> HttpResponse:
    """A form with name, kind and identity rules; a POST creates the space and leads to it."""
    others = list(services.spaces_of(request.membership).order_by("kind", "name", "id"))
    # What comes after a first Dev space is the same for real.
    kind = Space.Kind.PROD if {space.kind for space in others} == {Space.Kind.DEV} else Space.Kind.DEV
    form = NewSpace(request.POST or None, spaces=others, initial={"kind": kind})
    if request.method == "POST" and form.is_valid():
        name, kind = form.cleaned_data["name"], form.cleaned_data["kind"]
        space = create_space_with_rules(request.workspace, name=name, kind=kind, policy=form.policy, by=request)
        messages.success(request, f"The space “{space.name}” was created. Connect a source to fill it.")
        # Straight to the form: the rules should be set before the first source is connected.
        if form.wants_own_rules:
            return redirect(f"{reverse('identity-settings', args=[workspace, space.slug])}?edit=1")
        return redirect("space", workspace, space.slug)
    return render(request, "console/space_new.html", {"form": form}, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.admin")
def space_settings(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The name and kind of the space. Its slug never changes, so links to it go on working."""
    form = SpaceName(request.POST or None, initial={"name": request.space.name, "kind": request.space.kind})
    if request.method == "POST" and form.is_valid():
        services.change_space(request.space, by=request, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("space-settings", workspace, space)
    return render(
        request, "console/space_settings.html", {"form": form}, status=422 if request.method == "POST" else 200
    )


@needs("workspace.manage")
def space_delete(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What is deleted with the space. A POST with the name of the space deletes it."""
    here, error = request.space, ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() == here.name:
            services.delete_space(here, by=request)
            messages.success(request, f"The space “{here.name}” was deleted.")
            return redirect("spaces", workspace)
        # The button is disabled until the name is right, but only where scripts run.
        error = WRONG_NAME
    facts = space_facts([here])[here.pk]
    context = {"facts": facts, "destinations": here.destinations.count(), "error": error}
    return render(request, "console/space_delete.html", context, status=422 if error else 200)
