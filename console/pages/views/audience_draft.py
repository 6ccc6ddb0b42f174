"""The last steps of a new audience: where it goes, and a look at all of it before it exists."""

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
from destinations.pages.presenters import grouped
from destinations.pages.return_to import NEW, made_meanwhile, to_make_one
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

logger = logging.getLogger(__name__)

INCOMPLETE = "The conditions are not complete yet: go back to the first step, which says what is missing."


@needs("space.use")
def where(request: PageRequest, workspace: str, space: str, draft: str) -> HttpResponse:
    """Choose destinations, with what is sent there; none is fine too. The choice is kept in the draft.

    Whichever way the page is left, `to`, the choice is kept first.
    """
    found = _found(request, draft)
    chosen = made_meanwhile(request) | {to.public_id: options for to, options in services.chosen_in(found)}
    data = request.POST if request.method == "POST" else None
    rows = choices(request.space.destinations.order_by("name", "id"), data=data, chosen=chosen)
    wanted = picked(rows) if data is not None else None
    if wanted is not None:
        drafts.keep(found, destinations=[{"id": to.public_id, "options": options} for to, options in wanted])
        return redirect(_onward(request, found))
    context = {
        "draft": found,
        "steps": wizard.steps(request, found, wizard.DESTINATIONS),
        "groups": grouped((row.style, row) for row in rows),
    }
    return render(request, "destinations/draft_destinations.html", context, status=200 if data is None else 422)


@needs("space.use")
@lane(QUERIES)
def review(request: PageRequest, workspace: str, space: str, draft: str) -> HttpResponse:
    """Name it, see what it comes to, and create it with everything that was chosen; or keep it as it is."""
    found = _found(request, draft)
    if request.method != "POST":
        return _page(request, found, Review(initial=_said(found)))
    form, back = Review(request.POST), request.POST.get("to", "")
    valid = form.is_valid()
    if back in (wizard.BUILD, wizard.DESTINATIONS):
        drafts.keep(found, **form.cleaned_data)  # as far as it can be kept: a name may still be missing
        return redirect(wizard.url_of(request, found, back))
    if not valid:
        return _page(request, found, form, status=422)
    drafts.keep(found, **form.cleaned_data)
    if request.POST.get("act") != "create":
        messages.success(request, "The draft is kept. You find it under Audiences, Drafts.")
        return redirect("draft-review", workspace=workspace, space=space, draft=draft)
    try:
        audience = services.finish_draft(found, by=request)
    except DefinitionError:
        form.add_error(None, INCOMPLETE)
    except (audiences.KeyRefused, services.Unsuitable) as error:
        form.add_error(None, str(error))
    else:
        messages.success(request, f"{audience.name} is created, and is being computed.")
        return redirect("audience", workspace=workspace, space=space, audience=audience.public_id)
    return _page(request, _found(request, draft), form, status=422)


def _onward(request: PageRequest, found: Draft) -> str:
    """The page that the button leads to; to make a destination, with the way back here."""
    to = request.POST.get("to", "")
    if to == NEW:
        return to_make_one(request, request.path)
    return wizard.url_of(request, found, wizard.BUILD if to == wizard.BUILD else wizard.REVIEW)


def _page(request: PageRequest, found: Draft, form: Review, *, status: int = 200) -> HttpResponse:
    name = request.GET.get("name", "") or form["name"].value() or ""
    context = {
        "draft": found,
        "steps": wizard.steps(request, found, wizard.REVIEW),
        "form": form,
        "key": audiences.key_for(request.space, name) if name.strip() else "",
        "chosen": [destination for destination, _ in services.chosen_in(found)],
        "sentence": drafts.sentence_of(found),
        "incomplete": INCOMPLETE,
        **(_counted(found) if "count" in request.GET else {}),
    }
    return render(request, "destinations/draft_review.html", context, status=status)


def _said(found: Draft) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("name", "description", "include_historical")}


def _counted(found: Draft) -> dict[str, Any]:
    """How many people it begins with, exactly, with and without historical data; or why that cannot be said."""
    try:
        begun = audiences.beginnings(
            found.space, drafts.definition_of(found), include_anonymous=found.include_anonymous, now=clock.now()
        )
    except Unanswerable as error:
        logger.warning("a preview in %s: %s", found.space.public_id, error)
        return {"uncounted": unanswered(error)}
    except (DefinitionError, NotComputed) as error:
        return {"uncounted": str(error)}
    return {"begun": begun}


def _found(request: PageRequest, public_id: str) -> Draft:
    found = drafts.draft_of(request.space, public_id)
    if found is None:
        raise Http404
    return found
