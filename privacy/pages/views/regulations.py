"""Pages about privacy: what was asked for, a new request, what came of one; and all that is known of a person."""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.gate import require
from access.pages.tables import Pill, listed
from access.requests import PageRequest
from access.services import NotPossible, audit
from identity.models import Identifier
from identity.queries import profile_of
from identity.rules.policy import policy_of
from privacy import queries, services
from privacy.export import as_html, as_json, parts_of
from privacy.models import Regulation
from privacy.pages.forms import NewRegulation
from spaces.clock import clock
from spaces.models import Space
from spaces.needs import needs

MOST_FILLED_IN = 200  # identifiers of a profile
State = Regulation.State
STATES = {
    State.INITIALIZED: Pill("Waiting", "busy"),
    State.RUNNING: Pill("Running", "busy"),
    State.CHECKING: Pill("Erased, to be checked", "good"),
    State.FINISHED: Pill("Done and checked", "good"),
    State.PARTIAL_SUCCESS: Pill("Done here, not everywhere", "warn"),
}


@needs("workspace.manage")
def workspace_regulations(request: PageRequest, workspace: str) -> HttpResponse:
    """What was asked for in the workspace and in its spaces, newest first."""
    return _list(request)


@needs("space.admin")
def space_regulations(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What was asked for in this space alone, newest first."""
    return _list(request)


@needs("workspace.manage")
def workspace_regulation_new(request: PageRequest, workspace: str) -> HttpResponse:
    """A new request for the whole workspace."""
    return _new(request)


@needs("space.admin")
def space_regulation_new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """A new request for this space; `?profile=` names somebody whose identifiers are filled in."""
    return _new(request)


@needs("workspace.manage")
def workspace_regulation(request: PageRequest, workspace: str, regulation: str) -> HttpResponse:
    """How far a request is, and what came of it."""
    return _shown(request, regulation)


@needs("space.admin")
def space_regulation(request: PageRequest, workspace: str, space: str, regulation: str) -> HttpResponse:
    """How far a request is, and what came of it."""
    return _shown(request, regulation)


def _list(request: PageRequest) -> HttpResponse:
    page, pager = listed(request, queries.regulations_of(request.workspace, request.space), order="-id")
    rows = [_row(request, regulation) for regulation in page]
    running = any(row["running"] for row in rows)
    return _render(request, "regulations", {"rows": rows, "pager": pager, "running": running})


def _new(request: PageRequest) -> HttpResponse:
    spaces = [request.space] if request.space else list(Space.objects.filter(workspace=request.workspace))
    # A request for the whole workspace may name an identifier that one of its spaces alone knows.
    types = {type for space in spaces for type in policy_of(space.identity_policy).rank}
    form = NewRegulation(
        request.POST or None,
        request.FILES or None,
        initial={"identifiers": _identifiers_of(request)},
        of_space=request.space is not None,
        types=types,
    )
    if request.method == "POST" and form.is_valid():
        try:
            regulation = services.regulate(
                request.workspace,
                kind=form.cleaned_data["kind"],
                subjects=form.cleaned_data["subjects"],
                space=request.space,
                now=clock.now(),
                by=request,
            )
        except NotPossible as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "It has begun." if regulation.finished_at is None else "Done.")
            return redirect(_url(request, "regulation", regulation.public_id))
    return _render(request, "regulation_new", {"form": form, "types": sorted(types)})


def _identifiers_of(request: PageRequest) -> str:
    """One a line, of the person whom the address names."""
    if not request.space or not (public_id := request.GET.get("profile", "")):
        return ""
    # They are shown in clear: a permission to ask for erasures is none to see values.
    require(request, "space.pii")
    profile = profile_of(request.space, public_id)
    if profile is None:
        raise Http404
    rows = Identifier.objects.filter(space=request.space, profile=profile.number).order_by("number")
    return "\n".join(f"{row.type}:{row.value}" for row in rows[:MOST_FILLED_IN])


def _shown(request: PageRequest, public_id: str) -> HttpResponse:
    regulation = queries.regulations_of(request.workspace, request.space).filter(public_id=public_id).first()
    if regulation is None:
        raise Http404
    context = {
        "row": _row(request, regulation),
        "stores": queries.stores_of(regulation),
        "destinations": queries.destinations_of(regulation),
        "unreachable": queries.unreachable(regulation),
    }
    return _render(request, "regulation", context)


def _row(request: PageRequest, regulation: Regulation) -> dict[str, Any]:
    return {
        "regulation": regulation,
        "what": regulation.what,
        "pill": STATES[State(regulation.state)],
        "running": regulation.finished_at is None,
        "percent": queries.percent(regulation),
        "step": queries.step_of(regulation),
        "url": _url(request, "regulation", regulation.public_id),
    }


def _render(request: PageRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    urls = {"list_url": _url(request, "privacy"), "new_url": _url(request, "regulation-new")}
    base = "base_settings.html" if request.space else "base_workspace.html"
    return render(request, f"privacy/{name}.html", {"base": base, **urls, **context})


def _url(request: PageRequest, name: str, *args: str) -> str:
    """Of the workspace's pages, or of the space's."""
    if request.space:
        return reverse(f"space-{name}", args=[request.workspace.slug, request.space.slug, *args])
    return reverse(name, args=[request.workspace.slug, *args])


@needs("space.pii")
def export(request: PageRequest, workspace: str, space: str, profile: str) -> StreamingHttpResponse:
    """As a file: a page that needs nothing else; with `?as=json` JSON."""
    person = profile_of(request.space, profile)
    if person is None:
        raise Http404
    # Before the first byte: whoever breaks it off has seen some of it, too.
    audit(request, "privacy.exported", request.space, profile=person.public_id)
    parts, id = parts_of(request.space, person), person.public_id
    if request.GET.get("as") == "json":
        return _file(as_json(parts), f"{id}.json", "application/json")
    page = as_html(parts, title=id, space=request.space.name, now=clock.now())
    return _file(page, f"{id}.html", "text/html; charset=utf-8")


def _file(content: Iterator[str], name: str, type: str) -> StreamingHttpResponse:
    # Not shown in the console: it has a style of its own, and values that anybody may have sent.
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(content, content_type=type, headers=headers)
