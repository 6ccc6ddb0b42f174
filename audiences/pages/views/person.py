"""Pages about one person and the audiences: which they are in, since when, and why. Parts of pages for htmx."""

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers

from access.requests import PageRequest
from audiences import explain, trait_overview
from audiences.failures import unreadable
from audiences.models import Audience
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.validation import DefinitionError
from identity.pages.presenters import Person, person
from identity.queries import MANY, identifiers_in_order, profile_of
from spaces.clock import clock
from spaces.needs import needs

MOST_OTHERS = 50


@needs("space.read")
def of_profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The audiences that the person is in, and since when; the others, with a way to find out why not."""
    who = _person(request, profile)
    inside, others = explain.memberships(request.space, who.profile)
    context = {
        "inside": [(membership, _page_of(request, membership.audience)) for membership in inside],
        "others": others[:MOST_OTHERS],
        "more": max(len(others) - MOST_OTHERS, 0),
    }
    return _render(request, "of_profile", who, context)


@needs("space.read")
def computed(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The computed traits that the person has."""
    who = _person(request, profile)
    context = {"computed": trait_overview.of_profile(request.space, who.profile.number)}
    return _render(request, "traits/of_profile", who, context)


@needs("space.read")
def why(request: PageRequest, workspace: str, space: str, profile: str, audience: str) -> HttpResponse:
    """Why the person is in the audience, or is not."""
    who = _person(request, profile)
    of = explain.whom(who.profile)
    # Of the same kind of profile: an account is in no audience of people.
    asked_about = get_object_or_404(Audience, space=request.space, of=of, public_id=audience, deleted_at=None)
    context: dict[str, Any] = {"audience": asked_about, "audience_url": _page_of(request, asked_about)}
    try:
        context["why"] = explain.explain(request.space, asked_about, who.profile, now=clock.now())
    except (NotComputed, Unanswerable) as error:
        context["error"] = str(error)
    except DefinitionError as error:
        context["error"] = unreadable(error)
    return _render(request, "why", who, context)


def _person(request: PageRequest, public_id: str) -> Person:
    profile = profile_of(request.space, public_id)
    if profile is None:
        raise Http404
    return person(profile, list(identifiers_in_order(profile)[:MANY]))


def _render(request: PageRequest, name: str, who: Person, context: dict[str, Any]) -> HttpResponse:
    """As a part of a page when htmx asks, else as a page."""
    part = bool(request.htmx)
    folder, _, page = name.rpartition("/")
    template = "/".join(filter(None, ["audiences", folder, f"_{page}.html" if part else f"{page}.html"]))
    response = render(request, template, {"person": who, "part": part, **context})
    # Else a cache may answer a whole page where a part was asked for, or the other way.
    patch_vary_headers(response, ["HX-Request"])
    return response


def _page_of(request: PageRequest, audience: Audience) -> str:
    return reverse("audience", args=[request.workspace.slug, request.space.slug, audience.public_id])
