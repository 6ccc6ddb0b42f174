"""Pages about one person and the audiences: which they are in, since when, and why. Parts of pages for htmx."""

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers

from access.requests import PageRequest
from audiences import explain
from audiences.failures import unreadable
from audiences.models import Audience
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.validation import DefinitionError
from identity.models import Profile
from identity.pages.presenters import Person, person
from identity.queries import MANY, held_by, profile_of
from spaces.clock import clock
from spaces.needs import needs

MOST_OTHERS = 50


@needs("space.read")
def of_profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The audiences that the person is in, and since when; the others, with a way to find out why not."""
    who = _person(request, profile)
    inside, others = explain.memberships(request.space, who.profile)
    context = {
        "inside": [(each, _page_of(request, each.audience)) for each in inside],
        "others": others[:MOST_OTHERS],
        "more": max(len(others) - MOST_OTHERS, 0),
    }
    return _shown(request, "of_profile", who, context)


@needs("space.read")
def why(request: PageRequest, workspace: str, space: str, profile: str, audience: str) -> HttpResponse:
    """Why the person is in the audience, or is not."""
    who = _person(request, profile)
    found = Audience.objects.filter(space=request.space, public_id=audience, deleted_at=None).first()
    if found is None:
        raise Http404
    context: dict[str, Any] = {"audience": found, "audience_url": _page_of(request, found)}
    try:
        context["why"] = explain.explain(request.space, found, who.profile, now=clock.now())
    except (NotComputed, Unanswerable) as error:
        context["error"] = str(error)
    except DefinitionError as error:
        context["error"] = unreadable(error)
    return _shown(request, "why", who, context)


def _person(request: PageRequest, profile: str) -> Person:
    found: Profile | None = profile_of(request.space, profile)
    if found is None:
        raise Http404
    return person(found, list(held_by(found)[:MANY]))


def _shown(request: PageRequest, name: str, who: Person, context: dict[str, Any]) -> HttpResponse:
    """As a part of a page when htmx asks, else as a page."""
    part = bool(request.htmx)
    template = f"audiences/_{name}.html" if part else f"audiences/{name}.html"
    response = render(request, template, {"person": who, "part": part, **context})
    patch_vary_headers(response, ["HX-Request"])
    return response


def _page_of(request: PageRequest, audience: Audience) -> str:
    return reverse("audience", args=[request.workspace.slug, request.space.slug, audience.public_id])
