"""The audience builder: a form that is the tree itself. Each button posts it; the server changes it and shows it."""

import json
from collections.abc import Sequence
from contextlib import suppress

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from access.requests import PageRequest
from audiences import drafts, services, suggestions
from audiences.cases import BrokenCases, CaseOutcome
from audiences.failures import unreadable
from audiences.models import Audience, Draft
from audiences.overview import audiences_of, overview
from audiences.pages import builder, wizard
from audiences.rules import draft_form
from audiences.rules.draft_form import Flaw, Tree
from audiences.rules.grammar import USERS
from audiences.rules.starting_points import BY_KEY, STARTING_POINTS
from audiences.rules.validation import DefinitionError
from audiences.rules.whom import WHOM
from audiences.value_types import typed, untyped
from spaces.ids import new_id
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

MOST_DRAFTS = 20
MOST_OF_A_TAB = 40
UNCLEAR = "The conditions are not complete yet. Each row that needs something says what."
LOOK, CHECK, SHOW = "look", "check", "show"  # the live preview; the button for it; only to be shown again
TAKE = "take"  # what this page has, whatever was written elsewhere
ANYWAY = "anyway"  # save, though it breaks test cases
JSON = "json"  # the definition that was written as text takes the place of the rows
WITHOUT_EDIT = ("", LOOK, CHECK, SHOW, TAKE, JSON, ANYWAY, "next", "save", "discard")
ELSEWHERE = "This draft was changed elsewhere since: by a colleague, or in another tab. What you see here is not kept."
SAVED_ELSEWHERE = "Meanwhile somebody saved another definition: {} What you see is yours; save again to replace theirs."


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Begin a draft, with the starting point `start` or as a copy of an audience; or go on with one that was begun."""
    if "copy" in request.POST:
        original = get_object_or_404(audiences_of(request.space), public_id=request.POST["copy"])
        try:
            copied = drafts.begin_copy(original, request)
        except DefinitionError as error:
            messages.error(request, unreadable(error))
            return redirect("audience", workspace, space, original.public_id)
        return redirect("audience-draft", workspace, space, copied.public_id)
    if request.method == "POST":
        start = BY_KEY.get(request.POST.get("start", ""))
        of = request.POST.get("of", "")
        draft = drafts.begin(request.space, request, start, of=of if of in WHOM and not start else USERS)
        return redirect("audience-draft", workspace, space, draft.public_id)
    kept = drafts.drafts_of(request.space)[:MOST_DRAFTS]
    listed = [(draft, drafts.sentence_of(draft, as_sent=False)) for draft in kept]
    context = {"drafts": listed, "starting_points": STARTING_POINTS}
    return render(request, "audiences/new.html", context)


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(QUERIES)
def draft(request: PageRequest, workspace: str, space: str, draft: str) -> HttpResponse:
    """An audience that does not exist yet. What is posted is kept at once, so that nothing typed is lost."""
    stored = drafts.draft_of(request.space, draft)
    if stored is None:
        raise Http404
    here = reverse("audience-draft", args=[workspace, space, draft])
    if request.method != "POST":
        tree = draft_form.of_stored(stored.sketch)
        return _render_builder(
            request, stored, tree, here, check="preview" in request.GET, focus=request.GET.get("focus", "")
        )
    act = request.POST.get("act", "")
    if act == "discard":
        drafts.discard(stored)
        messages.success(request, "The draft is gone.")
        return go_to(request, reverse("audiences", args=[workspace, space]))
    tree, focus = _edited_tree(request)
    # A draft is open in several tabs, or at several people's: whoever wrote last must not lose it to a stale page.
    tab = _tab(request)
    if tab and stored.tab not in (tab, request.POST.get("base", "")) and TAKE not in request.POST.getlist("act"):
        stored.include_anonymous = "include_anonymous" in request.POST  # shown, not saved
        if act == LOOK:
            return render(request, "audiences/_preview.html", {"seen": {"problem": ELSEWHERE}, "whom": stored.whom})
        return _render_builder(request, stored, tree, here, focus=focus, elsewhere=ELSEWHERE)
    sent = {"sketch": tree, "include_anonymous": "include_anonymous" in request.POST}
    drafts.keep(stored, **sent, **({"tab": tab} if tab else {}))
    if act == "next":
        if flaws := draft_form.flaws(tree):
            return _refused(request, stored, tree, here, flaws)
        return go_to(request, wizard.url_of(request, stored, wizard.DESTINATIONS))
    if act == LOOK:
        return _render_preview(request, tree, stored)
    if request.htmx:
        return _render_builder(request, stored, tree, here, check=act == CHECK, focus=focus)
    # Without JavaScript: a reload must not post again what was pressed.
    return redirect(f"{here}?{'preview=1' if act == CHECK else f'focus={focus}'}#{builder.id_of(focus)}")


@needs("space.use")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(QUERIES)
def edit(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """The builder of an audience that exists. Nothing changes until it is saved; the form holds the edits."""
    existing = get_object_or_404(audiences_of(request.space), public_id=audience)
    here = reverse("audience-builder", args=[workspace, space, audience])
    if request.method != "POST":
        return _render_builder(request, existing, _stored_tree(request, existing), here, check=True)
    act = request.POST.get("act", "")
    tree, focus = _edited_tree(request)
    if act == LOOK:
        return _render_preview(request, tree, existing)
    if act not in ("save", ANYWAY):
        return _render_builder(request, existing, tree, here, check=act == CHECK, focus=focus)
    newest = overview(existing)
    if request.POST.get("base", str(newest.version.number)) != str(newest.version.number):
        elsewhere = SAVED_ELSEWHERE.format(newest.sentence)
        return _render_builder(request, existing, tree, here, check=True, elsewhere=elsewhere, renewed=True)
    try:
        definition = draft_form.definition(typed(request.space, tree))
        services.change_audience(existing, definition=definition, despite_cases=act == ANYWAY, by=request)
    except DefinitionError as error:
        return _refused(request, existing, tree, here, [draft_form.flaw_of(tree, error)])
    except BrokenCases as error:
        return _render_builder(request, existing, tree, here, check=True, broken=error.outcomes)
    messages.success(request, f"{existing.name} is saved. Who is in it stays until the new definition is computed.")
    return go_to(request, reverse("audience", args=[workspace, space, audience]))


@needs("space.use")
@require_GET
@lane(QUERIES)
def suggest(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Options for a list of suggestions. `of`: what is wanted; `event`, `name`: the fields of the form that name the
    event and the property; `like`: the one that somebody types in."""
    event, name, like = (request.GET.get(request.GET.get(field, ""), "") for field in ("event", "name", "like"))
    values = suggestions.offered(request.space, request.GET.get("of", ""), event=event, name=name, like=like)
    return render(request, "audiences/_suggestions.html", {"values": values})


def _stored_tree(request: HttpRequest, of: Audience) -> Tree:
    """The audience's definition as a tree; an empty one when it cannot be read."""
    try:
        return untyped(of.space, draft_form.of_definition(overview(of).version.definition))
    except DefinitionError as error:
        messages.error(request, f"{unreadable(error)} What you describe here takes its place.")
        return draft_form.blank()


def _edited_tree(request: PageRequest) -> tuple[Tree, str]:
    """The posted tree after the acts of its buttons, such as `add:rows.1:event`; and where the focus goes.

    There are several when a button was pressed before the answer to the one before it was there.
    """
    if request.POST.get("act") == JSON:
        with suppress(ValueError, RecursionError):  # then it is said in `_unreadable`
            return untyped(request.space, draft_form.of_definition(json.loads(request.POST.get("json", "")))), ""
    tree = draft_form.of_fields({name: str(value) for name, value in request.POST.items()})
    acts = [f"{act}::".split(":")[:3] for act in request.POST.getlist("act") if act not in WITHOUT_EDIT]
    return draft_form.edited(tree, [(verb, path, kind) for verb, path, kind in acts])


def _unreadable(request: PageRequest) -> str:
    """What is wrong with a definition that was written as text; "" when it was not."""
    if request.POST.get("act") != JSON:
        return ""
    try:
        draft_form.of_definition(json.loads(request.POST.get("json", "")))
    except DefinitionError as error:
        return f"{error.path or 'The definition'}: {error.message}."
    except (ValueError, RecursionError) as error:
        return f"This is no JSON: {error}."
    return ""


def _as_text(request: PageRequest, tree: Tree, *, unreadable: str) -> str:
    """The definition as JSON: what was written, while it cannot be read; "" while the rows mean nothing."""
    if unreadable:
        return request.POST.get("json", "")
    try:
        return json.dumps(draft_form.definition(typed(request.space, tree)), indent=2, ensure_ascii=False)
    except DefinitionError:
        return ""


def _render_preview(request: PageRequest, tree: Tree, of: Draft | Audience) -> HttpResponse:
    return render(request, "audiences/_preview.html", {"seen": builder.preview_of(tree, of=of), "whom": of.whom})


def _refused(request: PageRequest, of: Draft | Audience, tree: Tree, here: str, flaws: list[Flaw]) -> HttpResponse:
    """The form as it was sent, with what is wrong at its place. htmx swaps no page of an error status."""
    status = 200 if request.htmx else 422
    return _render_builder(request, of, tree, here, flaws=flaws, status=status)


def _render_builder(
    request: PageRequest,
    of: Draft | Audience,
    tree: Tree,
    here: str,
    *,
    check: bool = False,
    focus: str = "",
    flaws: list[Flaw] | None = None,
    elsewhere: str = "",
    broken: Sequence[CaseOutcome] = (),
    renewed: bool = False,
    status: int = 200,
) -> HttpResponse:
    """check: what is wrong is said at each row, and the preview is worked out now rather than by the page.

    flaws: because of them, what was wanted was not done. elsewhere: why nothing is saved, when somebody else saved
    meanwhile. broken: because of these test cases nothing is saved. renewed: from now on the page knows of that.
    """
    shown = (draft_form.flaws(tree) if check else []) if flaws is None else flaws
    existing, draft = (of, None) if isinstance(of, Audience) else (None, of)
    root = builder.rows_of(tree, space=request.space, of=of.of, flaws=shown, besides=existing)
    unreadable = _unreadable(request)
    newest = of.tab if isinstance(of, Draft) else str(overview(of).version.number)
    base = newest if renewed else request.POST.get("base", newest)
    context = {
        "root": root,
        "bare": "1" if draft_form.is_bare(tree) else "",
        "whom": of.whom,
        "url": here,
        "suggest": reverse("audience-suggest", args=[request.workspace.slug, request.space.slug]),
        "events": suggestions.events(request.space),
        "focus": builder.id_of(focus) if focus else "",
        "seen": builder.preview_of(tree, of=of) if check else None,
        "problem": UNCLEAR if flaws else "",
        "text": _as_text(request, tree, unreadable=unreadable),
        "unreadable": unreadable,
        "elsewhere": elsewhere,
        "broken": broken,
        # What the page is built on; a page of a draft has a name of its own.
        "base": base,
        "tab": _tab(request) or new_id("tab"),
        "audience": existing,
        "draft": draft,
        "steps": wizard.steps(request, draft, wizard.BUILD) if draft else [],
    }
    template = "audiences/_builder.html" if request.htmx else "audiences/builder.html"
    return render(request, template, context, status=status)


def _tab(request: PageRequest) -> str:
    """The name that the page was given; "" when it has none, or one that we did not give."""
    tab = request.POST.get("tab", "")
    return tab if tab.isidentifier() and tab.isascii() and len(tab) <= MOST_OF_A_TAB else ""


def go_to(request: PageRequest, url: str) -> HttpResponse:
    """The browser goes to another page, also when htmx asked."""
    if request.htmx:
        return HttpResponse(headers={"HX-Redirect": url})
    return redirect(url)
