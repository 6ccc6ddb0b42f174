"""The last two steps of a new audience: choosing destinations, and a review of everything before it is created."""

import logging
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from access.requests import PageRequest
from audiences import drafts
from audiences import services as audiences
from audiences.models import Draft
from audiences.pages import wizard
from audiences.pages.builder import unanswered
from audiences.pages.forms import Review
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.validation import DefinitionError
from destinations import services
from destinations.pages.destination_picker import choices, picked
from destinations.pages.presenters import NEW, grouped, made_meanwhile, to_make_one
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

logger = logging.getLogger(__name__)

INCOMPLETE = "The conditions are not complete yet: go back to the first step, which shows what is missing."


@needs("space.use")
def destinations(request: PageRequest, workspace: str, space: str, draft: str) -> HttpResponse:
    """Choose destinations and what is sent there; none is possible too. The draft keeps the choice.

    A POST saves first, whichever of the buttons (`to`) was pressed.
    """
    row = _get_or_404(request, draft)
    # What the draft has kept wins over a tick in the URL: it comes with options.
    chosen = made_meanwhile(request) | {to.public_id: options for to, options in services.chosen_in(row)}
    data = request.POST if request.method == "POST" else None
    cards = choices(request.space.destinations.order_by("name", "id"), of=row.of, data=data, chosen=chosen)
    ticked = picked(cards) if data is not None else None
    if ticked is not None:
        drafts.keep(row, destinations=[{"id": to.public_id, "options": options} for to, options in ticked])
        to = request.POST.get("to", "")
        if to == NEW:
            return redirect(to_make_one(request, request.path))
        return redirect(wizard.url_of(request, row, wizard.BUILD if to == wizard.BUILD else wizard.REVIEW))
    context = {
        "draft": row,
        "steps": wizard.steps(request, row, wizard.DESTINATIONS),
        "groups": grouped((card.style, card) for card in cards),
    }
    return render(request, "console/draft_destinations.html", context, status=200 if data is None else 422)


@needs("space.use")
@lane(QUERIES)
def review(request: PageRequest, workspace: str, space: str, draft: str) -> HttpResponse:
    """Name the audience and check it. A POST creates it with everything that was chosen, or saves the draft."""
    row = _get_or_404(request, draft)
    initial = {name: getattr(row, name) for name in ("name", "description", "labels", "folder", "include_historical")}
    if request.method != "POST":
        return _render_review(request, row, Review(initial=initial))
    form, back = Review(request.POST, initial=initial), request.POST.get("to", "")
    valid = form.is_valid()
    key = form.cleaned_data.pop("key", "")
    if back in (wizard.BUILD, wizard.DESTINATIONS) and not form.is_outdated:
        # What is valid is kept even when the form is not: going back must not lose what was typed.
        drafts.keep(row, **form.cleaned_data)
        return redirect(wizard.url_of(request, row, back))
    if not valid:
        return _render_review(request, row, form, status=422)
    drafts.keep(row, **form.cleaned_data)
    if request.POST.get("act") != "create":
        messages.success(request, "The draft is saved. You find it under Audiences, Drafts.")
        return redirect("draft-review", workspace=workspace, space=space, draft=draft)
    try:
        audience = services.finish_draft(row, by=request, key=key or None)
    except DefinitionError:
        form.add_error(None, INCOMPLETE)
    except audiences.KeyRefused as error:
        form.add_error("key", str(error))
    except services.Unsuitable as error:
        form.add_error(None, str(error))
    else:
        messages.success(request, f"{audience.name} is created, and is being computed.")
        return redirect("audience", workspace=workspace, space=space, audience=audience.public_id)
    # Loaded again: finish_draft leaves this object changed, though its transaction was rolled back.
    return _render_review(request, _get_or_404(request, draft), form, status=422)


def _render_review(request: PageRequest, row: Draft, form: Review, *, status: int = 200) -> HttpResponse:
    # htmx asks with the name that is being typed, to show the key that it would get.
    name = request.GET.get("name", "") or form["name"].value() or ""
    # How many people it begins with, with and without historical data; or why that is not known. Counting takes
    # seconds for a big space: the page is shown without it and asks again for it.
    count: dict[str, Any] = {}
    if "count" in request.GET:
        wanted: dict[str, Any] = {"of": row.of, "include_anonymous": row.include_anonymous, "now": clock.now()}
        try:
            count = {"begun": audiences.beginnings(row.space, drafts.definition_of(row), **wanted)}
        except Unanswerable as error:
            logger.warning("a preview in %s: %s", row.space.public_id, error)
            count = {"uncounted": unanswered(error)}
        except (DefinitionError, NotComputed) as error:
            count = {"uncounted": str(error)}
    context = {
        "draft": row,
        "steps": wizard.steps(request, row, wizard.REVIEW),
        "form": form,
        "key": audiences.key_for(request.space, name) if name.strip() else "",
        "chosen": [destination for destination, _ in services.chosen_in(row)],
        "sentence": drafts.sentence_of(row),
        "incomplete": INCOMPLETE,
        **count,
    }
    return render(request, "console/draft_review.html", context, status=status)


def _get_or_404(request: PageRequest, public_id: str) -> Draft:
    row = drafts.draft_of(request.space, public_id)
    if row is None:
        raise Http404
    return row
