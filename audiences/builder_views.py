"""The audience builder: a form that is the tree itself. Each button posts it; the server changes it and shows it."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_GET, require_http_methods

from access.requests import PageRequest
from audiences import builder, drafts, services, sketch, suggestions
from audiences.models import Audience, Draft
from audiences.overview import audiences_of, overview
from audiences.reading import DefinitionError
from audiences.sketch import Sketch
from spaces.needs import needs

LONGEST_NAME = Audience._meta.get_field("name").max_length
UNCLEAR = "The conditions are not complete yet. Each row that needs something says what."
LOOK, CHECK, SHOW = "look", "check", "show"  # the live preview; the button for it; only to be shown again
WITHOUT_EDIT = ("", LOOK, CHECK, SHOW, "finish", "next", "save", "discard")


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Begin a draft; or go on with one that was begun."""
    if request.method == "POST":
        return redirect("audience-draft", workspace, space, drafts.begin(request.space, request).public_id)
    return render(request, "audiences/new.html", {"drafts": drafts.drafts_of(request.space)[:20]})


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
def draft(request: PageRequest, workspace: str, space: str, draft: str) -> HttpResponse:
    """An audience that does not exist yet. What is posted is kept at once, so that nothing typed is lost."""
    found = drafts.draft_of(request.space, draft)
    if found is None:
        raise Http404
    here = reverse("audience-draft", args=[workspace, space, draft])
    if request.method != "POST":
        tree = sketch.shaped(found.sketch)
        return _page(request, found, tree, here, check="preview" in request.GET, focus=request.GET.get("focus", ""))
    act = request.POST.get("act", "")
    if act == "discard":
        drafts.discard(found)
        messages.success(request, "The draft is gone.")
        return _gone_to(request, reverse("audiences", args=[workspace, space]))
    tree, focus = _edited(request, act)
    drafts.keep(found, sketch=tree, **_said(request))
    if act in ("finish", "next"):
        return _finished(request, found, tree, here)
    if act == LOOK:
        return _live(request, tree, found.include_anonymous)
    if request.headers.get("HX-Request"):
        return _page(request, found, tree, here, check=act == CHECK, focus=focus)
    return redirect(f"{here}?{'preview=1' if act == CHECK else f'focus={focus}'}#{builder.id_of(focus)}")


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """The builder of an audience that exists. Nothing changes until it is saved; the form holds the edits."""
    found = audiences_of(request.space).filter(public_id=audience).first()
    if found is None:
        raise Http404
    here = reverse("audience-builder", args=[workspace, space, audience])
    if request.method != "POST":
        return _page(request, found, sketch.of_definition(overview(found).version.definition), here, check=True)
    act = request.POST.get("act", "")
    tree, focus = _edited(request, act)
    if act == LOOK:
        return _live(request, tree, found.include_anonymous)
    if act != "save":
        return _page(request, found, tree, here, check=act == CHECK, focus=focus)
    try:
        services.change_audience(found, definition=sketch.definition(tree), by=request)
    except DefinitionError as error:
        return _refused(request, found, tree, here, [sketch.flaw_of(tree, error)])
    messages.success(request, f"{found.name} is saved. Who is in it stays until the new definition is computed.")
    return _gone_to(request, audience_url(found, workspace, space))


@needs("space.use")
@require_GET
def suggest(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Options for a list of suggestions. `of`: what is wanted; `event`, `name`: the fields of the form that name it."""
    event, name = (request.GET.get(request.GET.get(field, ""), "") for field in ("event", "name"))
    offered = {
        "property": lambda: suggestions.properties(request.space, event=event),
        "property-value": lambda: suggestions.property_values(request.space, event=event, name=name),
        "trait": lambda: suggestions.traits(request.space),
        "trait-value": lambda: suggestions.trait_values(request.space, name=name),
    }
    found = offered.get(request.GET.get("of", ""), list)()
    return render(request, "audiences/_suggestions.html", {"values": found})


def audience_url(audience: Audience, workspace: str, space: str) -> str:
    """The audience's own page; the list while there is none."""
    try:
        return reverse("audience", args=[workspace, space, audience.public_id])
    except NoReverseMatch:
        return reverse("audiences", args=[workspace, space])


def _edited(request: HttpRequest, act: str) -> tuple[Sketch, str]:
    """The posted tree after the act of the button, such as `add:rows.1:event`; and where the focus goes."""
    tree = sketch.of_fields({name: str(value) for name, value in request.POST.items()})
    if act in WITHOUT_EDIT:
        return tree, ""
    verb, path, kind = (*act.split(":"), "", "")[:3]
    try:
        return sketch.edited(tree, verb, path, kind)
    except (LookupError, ValueError):
        return tree, ""  # a button of a page that was changed meanwhile


def _said(request: HttpRequest) -> dict[str, Any]:
    """What the form says beside the tree, as far as it says it."""
    texts = {name: request.POST[name] for name in ("name", "description") if name in request.POST}
    kept = {name: value.replace("\0", "")[:LONGEST_NAME] if name == "name" else value for name, value in texts.items()}
    return kept | {"include_anonymous": "include_anonymous" in request.POST}


def _finished(request: PageRequest, found: Draft, tree: Sketch, here: str) -> HttpResponse:
    """The next step, where there is one: the audience itself, when nothing more is asked."""
    flaws, steps = sketch.flaws(tree), _steps(request, found)
    if steps and not flaws:
        return _gone_to(request, steps[0]["url"])
    if flaws or not found.name.strip():
        missing = "" if steps or found.name.strip() else "Give it a name: that is how people and tools will know it."
        return _refused(request, found, tree, here, flaws, name_error=missing)
    try:
        audience = drafts.finish(found, by=request)
    except DefinitionError as error:
        return _refused(request, found, tree, here, [sketch.flaw_of(tree, error)])
    messages.success(request, f"{audience.name} is created, and is being computed.")
    return _gone_to(request, audience_url(audience, request.workspace.slug, request.space.slug))


def _live(request: PageRequest, tree: Sketch, include_anonymous: bool) -> HttpResponse:
    found = builder.seen(request.space, tree, include_anonymous=include_anonymous)
    return render(request, "audiences/_preview.html", {"seen": found})


def _refused(
    request: PageRequest, of: Draft | Audience, tree: Sketch, here: str, flaws: list[sketch.Flaw], name_error: str = ""
) -> HttpResponse:
    """The form as it was sent, with what is wrong at its place. htmx swaps no page of an error status."""
    status = 200 if request.headers.get("HX-Request") else 422
    return _page(request, of, tree, here, flaws=flaws, name_error=name_error, status=status, problem=bool(flaws))


def _page(
    request: PageRequest,
    of: Draft | Audience,
    tree: Sketch,
    here: str,
    *,
    check: bool = False,
    focus: str = "",
    flaws: list[sketch.Flaw] | None = None,
    name_error: str = "",
    problem: bool = False,
    status: int = 200,
) -> HttpResponse:
    """check: what is wrong is said at each row, and the preview is worked out now rather than by the page."""
    shown = (sketch.flaws(tree) if check else []) if flaws is None else flaws
    existing = of if isinstance(of, Audience) else None
    root = builder.rows_of(tree, space=request.space, flaws=shown, besides=existing)
    context = {
        "root": root,
        "bare": tree["bare"],
        "adding": builder.ADDING,
        "url": here,
        "suggest": reverse("audience-suggest", args=[request.workspace.slug, request.space.slug]),
        "events": suggestions.events(request.space),
        "focus": builder.id_of(focus) if focus else "",
        "seen": builder.seen(request.space, tree, include_anonymous=of.include_anonymous) if check else None,
        "problem": UNCLEAR if problem else "",
        "name_error": name_error,
        "draft": of if existing is None else None,
        "audience": existing,
        "steps": [] if existing else _steps(request, of),
    }
    template = "audiences/_builder.html" if request.headers.get("HX-Request") else "audiences/builder.html"
    return render(request, template, context, status=status)


def _steps(request: PageRequest, draft: Draft | Audience) -> list[dict[str, str]]:
    """The steps after the conditions, where there are pages for them."""
    found = []
    for name, label in (("draft-destinations", "Select destinations"), ("draft-review", "Review and create")):
        try:
            args = [request.workspace.slug, request.space.slug, draft.public_id]
            found.append({"label": label, "url": reverse(name, args=args)})
        except NoReverseMatch:
            continue
    return found


def _gone_to(request: HttpRequest, url: str) -> HttpResponse:
    """The browser goes to another page, also when htmx asked."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return redirect(url)
