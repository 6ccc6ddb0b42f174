"""Pages of imports: what was imported, a new file, what its columns are, and how far it is."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from access.gate import require
from access.pages.tables import Pill, csv_of, exported, listed, row_number, wants_csv
from access.requests import PageRequest
from access.services import NotPossible
from identity.rules.policy import policy_of
from imports import queries, services
from imports.models import ProfileImport
from imports.pages.forms import ColumnsForm, NewImport
from imports.reports import rejected_rows, template_row
from imports.rules.rows import importable
from spaces import personal
from spaces.clock import clock
from spaces.needs import needs

SHOWN_PROBLEMS = 20
State = ProfileImport.State
STATES = {
    State.UPLOADING: Pill("Being uploaded", "warn"),
    State.UPLOADED: Pill("Columns to be chosen", "warn"),
    State.CHECKING: Pill("Being checked", "busy"),
    State.CHECKED: Pill("Checked, not started", "warn"),
    State.RUNNING: Pill("Running", "busy"),
    State.DONE: Pill("Done", "good"),
    State.CANCELLED: Pill("Cancelled"),
    State.UNDOING: Pill("Being undone", "busy"),
    State.UNDONE: Pill("Undone"),
}
SAID = {
    "start": "It has begun. Profiles, audiences and destinations follow while it runs.",
    "cancel": "It was cancelled.",
    "undo": "It is being undone.",
}


@needs("space.read", POST="space.admin")
def imports(request: PageRequest, workspace: str, space: str) -> HttpResponse | StreamingHttpResponse | JsonResponse:
    """The imports of the space, newest first, and the form of a new one; with `?format=csv` a template.

    A POST with a file uploads it. With `name` in its place, as the page's script sends it, it answers where to send the
    parts of the file.
    """
    if wants_csv(request):
        return csv_of("template", template_row(request.space), [])
    form = NewImport(request.POST or None, request.FILES or None)
    # The script sends a name in place of the file: of any size, since it comes in parts.
    if request.method == "POST" and "name" in request.POST:
        try:
            of = services.begin(request.space, name=request.POST["name"], **_how_to_read(request))
        except NotPossible as error:
            return JsonResponse({"error": str(error)}, status=422)
        return JsonResponse({"url": _url(request, of)})
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            of = services.upload(request.space, file.read(), name=file.name, **_how_to_read(request))
            return redirect(_url(request, of))
        except NotPossible as error:
            form.add_error("file", str(error))
    rows, pager = listed(request, queries.imports_of(request.space), order="-id")
    context = {
        "rows": [(of, STATES[State(of.state)], _url(request, of)) for of in rows],
        "pager": pager,
        "form": form,
        "types": importable(policy_of(request.space.identity_policy)),
        "running": any(of.is_at_work for of in rows),
    }
    return render(request, "imports/imports.html", context, status=422 if form.errors else 200)


@needs("space.read", POST="space.admin")
def one_import(
    request: PageRequest, workspace: str, space: str, import_id: str
) -> HttpResponse | StreamingHttpResponse | JsonResponse:
    """How far it is, what its columns are, and what is wrong with rows; with `?format=csv` the rejected rows.

    A POST does what the button says; the page's script sends the parts of the file here.
    """
    of = get_object_or_404(queries.imports_of(request.space), public_id=import_id)
    if wants_csv(request):
        # All values in clear, which the page masks for whoever may not see them.
        require(request, "space.admin")
        return exported(request, f"rejected-{of.public_id}", ["row", "reason", *of.header], rejected_rows(of))
    if request.method == "POST" and request.POST.get("do") in ("part", "complete"):
        return _uploaded(request, of)
    error, form, records = "", None, []
    if of.header and of.state in (State.UPLOADED, State.CHECKED):
        records = queries.preview(of)
        # Another button's POST has no columns in it, and would show all of them as left out.
        is_chosen = request.method == "POST" and request.POST.get("do") == "check"
        form = ColumnsForm(
            request.POST if is_chosen else None,
            header=of.header,
            uses=of.uses,
            possible=importable(policy_of(request.space.identity_policy)),
        )
    if request.method == "POST":
        try:
            if _done(request, of, form):
                return redirect(_url(request, of))
        except NotPossible as problem:
            error = str(problem)
        except services.MappingError as problem:
            assert form is not None  # only what it says can be wrong
            form.add_error(f"use-{problem.place}", str(problem))
    context = {
        **_shown(of),
        "form": form,
        "error": error,
        "list_url": reverse("imports", args=[request.workspace.slug, request.space.slug]),
    }
    context["columns"] = form.rows(records) if form else []
    is_wrong = error or (form is not None and form.errors)
    return render(request, "imports/import.html", context, status=422 if is_wrong else 200)


def _done(request: PageRequest, of: ProfileImport, form: ColumnsForm | None) -> bool:
    """What the button says was done. Raises NotPossible and MappingError."""
    button = request.POST.get("do", "")
    if button == "check":
        if form is None:
            raise NotPossible("Its columns cannot be chosen any more.")
        if not form.is_valid():
            return False
        services.start_check(of, form.uses, now=clock.now(), by=request)
        return True
    if button == "start":
        services.start(of, clock=clock, by=request)
    elif button == "cancel":
        services.cancel(of, now=clock.now(), by=request)
    elif button == "undo":
        services.undo(of, now=clock.now(), by=request)
    else:
        raise NotPossible("There is no such button.")
    messages.success(request, SAID[button])
    return True


def _uploaded(request: PageRequest, of: ProfileImport) -> JsonResponse:
    """A part of the file, or word that there is no more: for the page's script."""
    try:
        if request.POST["do"] == "complete":
            services.complete(of, now=clock.now())
        # An offset that is no number is refused: taken for 0 it would look like a repetition.
        elif (part := request.FILES.get("part")) and (offset := row_number(request.POST.get("offset", ""))) is not None:
            services.add_part(of, part.read(), offset=offset, now=clock.now())
        else:
            raise NotPossible("A part needs its bytes, and its offset.")
    except NotPossible as error:
        return JsonResponse({"error": str(error)}, status=422)
    return JsonResponse({})


def _how_to_read(request: PageRequest) -> dict[str, Any]:
    chosen = {"charset": request.POST.get("charset", "utf-8"), "delimiter": request.POST.get("delimiter", "")}
    return {**chosen, "now": clock.now(), "by": request}


def _shown(of: ProfileImport) -> dict[str, Any]:
    progress = queries.progress(of, clock.now())
    left = progress.seconds_left
    problems = [
        (problem, personal.value(problem.column, problem.value, names=personal.OF_PEOPLE))
        for problem in of.problems.order_by("id")[:SHOWN_PROBLEMS]
    ]
    return {
        "of": of,
        "pill": STATES[State(of.state)],
        "percent": int(100 * progress.done),
        "rate": int(progress.rate),
        "left": timedelta(seconds=int(left)) if left is not None and of.is_at_work else None,
        "problems": problems,
        "rules": sorted(of.rules.items(), key=lambda rule: -rule[1]),
        "has_file": queries.has_file(of),
        "can_start": of.state == State.CHECKED and of.counts.get("good"),
        "can_cancel": of.state in (State.UPLOADING, State.UPLOADED, State.CHECKING, State.CHECKED, State.RUNNING),
        "can_undo": of.state in (State.DONE, State.CANCELLED) and of.source_id is not None,
        "was_sent": of.sent,
    }


def _url(request: PageRequest, of: ProfileImport) -> str:
    return reverse("import", args=[request.workspace.slug, request.space.slug, of.public_id])
