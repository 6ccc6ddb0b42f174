"""Pages about computed traits: the list, one of them, its form with the preview beside it, and its settings."""

import logging
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from access.pages.charts import spark
from access.pages.tables import Column, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from audiences import overview, services, suggestions, trait_overview
from audiences.cases import BrokenCases, CaseOutcome
from audiences.distribution import distribution
from audiences.failures import unreadable
from audiences.overview import Overview
from audiences.pages import builder
from audiences.pages.forms import TraitForm
from audiences.pages.lists import Nouns, changed_several, filtered, link_labels, list_context, rows_on_a_page, settled
from audiences.pages.views.audiences import IN_CSV as LIST_IN_CSV
from audiences.pages.views.audiences import csv_line, pill_of
from audiences.pages.views.builder import go_to
from audiences.queries import Unanswerable
from audiences.rules import draft_form
from audiences.rules.draft_form import Tree
from audiences.rules.grammar import USERS
from audiences.rules.validation import DefinitionError
from audiences.rules.whom import WHOM
from audiences.traits import TRAITS
from audiences.value_types import typed, untyped
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

COLUMNS = (
    Column("name", "Computed trait", "name"),
    Column("status", "Status", "rank"),
    Column("size", "People with a value", "size", num=True),
    Column("changed", "Lately", "changed_at"),
    Column("created", "Created", "pk"),
)
SEARCHED = ("name", "key", "description")
IN_CSV = ("profile_id", "name", "value")
LOOK, SHOW, SAVE, ANYWAY = "look", "show", "save", "anyway"
SAMPLE = 8
MOST_SPREAD = 50_000  # people whose values are looked at for the distribution
NOT_DELETED = "The name you typed is not the name of this computed trait. Nothing was deleted."

logger = logging.getLogger(__name__)


@needs("space.read", POST="space.use")
def traits(request: PageRequest, workspace: str, space: str) -> HttpResponse | StreamingHttpResponse:
    """Every computed trait of the space: what it says, and how many people have a value. A POST changes several."""
    everything = overview.traits_of(request.space)
    if request.method == "POST":
        return changed_several(request, everything, Nouns("computed trait", "computed traits"))
    rows = overview.listed(filtered(request, everything))
    listing: dict[str, Any] = {"columns": COLUMNS, "sort": "-created", "search": SEARCHED}
    if wants_csv(request):
        overviews = overview.overviews(request.space, arranged(request, rows, **listing))
        return exported(request, "computed-traits", LIST_IN_CSV, map(csv_line, overviews))
    table = tabled(request, rows, **listing, count=rows_on_a_page(request))
    sizes = overview.sizes_of(table.rows)
    shown = [
        {
            **header(details),
            "spark": spark([size for _, size in sizes.get(details.audience.pk, [])]),
            "labels": link_labels(request, details.audience.labels),
        }
        for details in overview.overviews(request.space, table.rows)
    ]
    context = {"table": table, "rows": shown, **list_context(request, everything)}
    return render(request, "audiences/traits/traits.html", context)


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(QUERIES)
def new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Describe a computed trait, perhaps as a `copy` of another. Nothing is kept until it is created."""
    here = reverse("computed-trait-new", args=[workspace, space])
    if request.method != "POST" and "copy" in request.GET:
        return _render_copy(request, get_trait_or_404(request, request.GET["copy"]), here)
    if request.method != "POST":
        return _render_form(request, draft_form.condition("event_counter"), TraitForm(), here)
    # A form of its own beside the tree: of a trait there is no draft, and the page holds all of it.
    tree, form, act = _edited(request), TraitForm(request.POST), request.POST.get("act", "")
    if act == LOOK:
        return _render_preview(request, tree, form)
    if act != SAVE:
        # A box that is not ticked is not sent: without this it would come back as it was at first.
        ticks = {name: name in request.POST for name in ("include_anonymous", "include_historical")}
        return _render_form(request, tree, TraitForm(initial={**request.POST.dict(), **ticks}), here)
    flaws = draft_form.flaws(tree)
    if form.is_valid() and not flaws:
        entries = form.cleaned_data
        try:
            made = services.create_trait(
                request.space,
                name=entries["name"],
                description=entries["description"],
                labels=entries["labels"],
                of=entries["of"],
                folder=entries["folder"],
                include_anonymous=entries["include_anonymous"],
                events_since=None if entries["include_historical"] else clock.now(),
                definition=draft_form.definition(typed(request.space, tree)),
                by=request,
            )
        except DefinitionError as error:
            flaws = [draft_form.flaw_of(tree, error)]
        else:
            messages.success(request, f"{made.name} is created. Its values are being computed.")
            return go_to(request, reverse("computed-trait", args=[workspace, space, made.public_id]))
    return _render_form(request, tree, form, here, flaws=flaws, refused=True)


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(QUERIES)
def edit(request: PageRequest, workspace: str, space: str, trait: str) -> HttpResponse:
    """Change how it is computed. The old values stay until the new ones are there."""
    details = get_trait_or_404(request, trait)
    here = reverse("computed-trait-edit", args=[workspace, space, trait])
    if request.method != "POST":
        try:
            tree = untyped(request.space, draft_form.of_definition(details.version.definition))
        except DefinitionError:
            # What cannot be read is replaced on purpose, by whoever saves this.
            tree = draft_form.condition("event_counter")
        return _render_form(request, tree, None, here, details=details)
    tree, act = _edited(request), request.POST.get("act", "")
    if act == LOOK:
        return _render_preview(request, tree, None, details)
    if act not in (SAVE, ANYWAY):
        return _render_form(request, tree, None, here, details=details)
    try:
        definition = draft_form.definition(typed(request.space, tree))
        services.change_audience(details.audience, definition=definition, despite_cases=act == ANYWAY, by=request)
    except BrokenCases as error:
        return _render_form(request, tree, None, here, details=details, broken=error.outcomes)
    except DefinitionError:
        return _render_form(request, tree, None, here, details=details, flaws=draft_form.flaws(tree), refused=True)
    messages.success(request, f"{details.audience.name} is saved. The old values stay until the new ones are computed.")
    return go_to(request, reverse("computed-trait", args=[workspace, space, trait]))


@needs("space.pii")
@lane(QUERIES)
def values(request: PageRequest, workspace: str, space: str, trait: str) -> HttpResponse | StreamingHttpResponse:
    """Everybody's value as a CSV file, streamed."""
    row = get_trait_or_404(request, trait).audience
    people = trait_overview.Values(row)
    lines = (
        [one.profile_id, one.person.name, one.value]
        # A thousand at a time: they are looked up together, and a trait may have millions.
        for start in range(0, len(people), 1000)
        for one in people[start : start + 1000]
    )
    return exported(request, row.key, IN_CSV, lines)


@needs("space.read", POST="space.use")
def settings(request: PageRequest, workspace: str, space: str, trait: str) -> HttpResponse:
    """Name, description and whether it is enabled. A POST changes them, or with `confirm` deletes it."""
    details = get_trait_or_404(request, trait)
    form, error, done = settled(request, details.audience, listing="computed-traits", misspelt=NOT_DELETED)
    if done:
        return done
    context = {**header(details), "form": form, "error": error}
    return render(request, "audiences/traits/settings.html", context, status=422 if request.method == "POST" else 200)


def _render_copy(request: PageRequest, original: Overview, here: str) -> HttpResponse:
    """The form of a new one, filled with what is there of another."""
    row = original.audience
    try:
        tree = untyped(request.space, draft_form.of_definition(original.version.definition))
    except DefinitionError as error:
        messages.error(request, unreadable(error))
        return redirect("computed-trait", request.workspace.slug, request.space.slug, row.public_id)
    initial = {
        "name": services.copy_name(row),
        "description": row.description,
        "labels": row.labels,
        "of": row.of,
        "folder": row.folder,
        "include_anonymous": row.include_anonymous,
        "include_historical": row.events_since is None,
    }
    return _render_form(request, tree, TraitForm(initial=initial), here)


def _edited(request: PageRequest) -> Tree:
    """The posted form after the acts of its buttons. Choosing another kind keeps what both have."""
    tree = draft_form.of_fields({name: str(value) for name, value in request.POST.items()})
    acts = [f"{act}::".split(":")[:3] for act in request.POST.getlist("act") if ":" in act]
    edited, _ = draft_form.edited(tree, [(verb, path, kind) for verb, path, kind in acts])
    return edited if edited.get("kind") in TRAITS else draft_form.condition("event_counter")


def _render_preview(
    request: PageRequest, tree: Tree, form: TraitForm | None, details: Overview | None = None
) -> HttpResponse:
    seen = _preview(request, tree, form, details)
    return render(request, "audiences/traits/_preview.html", {"seen": seen, "whom": WHOM[_of(form, details)]})


def _of(form: TraitForm | None, details: Overview | None) -> str:
    """Whom it is about, as chosen in the form of a new one."""
    if details is not None:
        return details.audience.of
    chosen = str(form["of"].value()) if form else USERS
    return chosen if chosen in WHOM else USERS


def _preview(request: PageRequest, tree: Tree, form: TraitForm | None, details: Overview | None) -> dict[str, Any]:
    """Who would have which value now, or why nobody can say."""
    if flaws := draft_form.flaws(tree):
        return {"flaws": flaws}
    now = clock.now()
    if details is not None:
        anonymous, since = details.audience.include_anonymous, details.audience.events_since
    else:
        anonymous, since = bool(form and form.data.get("include_anonymous")), None
    definition = draft_form.definition(typed(request.space, tree))
    try:
        preview = services.preview_trait(
            request.space,
            definition,
            of=_of(form, details),
            include_anonymous=anonymous,
            events_since=since,
            now=now,
        )
    except Unanswerable as error:
        logger.warning("a preview in %s: %s", request.space.public_id, error)
        return {"problem": builder.unanswered(error)}
    # Any of them: the distribution is to give an idea, and each value is decoded for it.
    some = list(preview.values.values())[:MOST_SPREAD]
    return {
        "preview": preview,
        "spread": distribution([trait_overview.readable(definition, value) for value in some]),
        "people": trait_overview.sample(request.space, preview.values, SAMPLE, definition),
    }


def _render_form(
    request: PageRequest,
    tree: Tree,
    form: TraitForm | None,
    here: str,
    *,
    details: Overview | None = None,
    flaws: list[draft_form.Flaw] | None = None,
    broken: Sequence[CaseOutcome] = (),
    refused: bool = False,
) -> HttpResponse:
    """form: of a new one. broken, refused: because of these test cases, or of what is wrong, nothing was saved."""
    root = builder.rows_of(tree, space=request.space, flaws=flaws or ())
    (row,) = root.rows
    kind = str(tree["kind"])
    context = {
        **(header(details) if details else {}),
        "row": row,
        "kinds": [builder.Choice(name, trait.label, name == kind) for name, trait in TRAITS.items()],
        "form": form,
        "url": here,
        "whom": WHOM[_of(form, details)],
        "suggest": reverse("audience-suggest", args=[request.workspace.slug, request.space.slug]),
        "events": suggestions.events(request.space),
        # The page that is opened asks for it by itself: it need not wait for the statement.
        "seen": None if request.method != "POST" else _preview(request, tree, form, details),
        "refused": refused,
        "broken": broken,
    }
    template = "audiences/traits/_form.html" if request.htmx else "audiences/traits/edit.html"
    return render(request, template, context, status=422 if refused and not request.htmx else 200)


def header(details: Overview) -> dict[str, Any]:
    return {"trait": details.audience, "details": details, "state": pill_of(details)}


def get_trait_or_404(request: PageRequest, public_id: str) -> Overview:
    row = get_object_or_404(overview.traits_of(request.space), public_id=public_id)
    return overview.overview(row)
