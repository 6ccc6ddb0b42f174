"""Settings → Identity: the rules by which a space tells who is who, to be read and, for its admins, changed."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.requests import PageRequest
from identity import queries
from identity.pages.forms import NewIdentifier, Rules, rules_form
from identity.rules.extract import is_custom, places_of
from identity.rules.policy import Policy, moved, policy_of
from identity.services import change_policy
from spaces.needs import needs

SAVED = "The rules are saved. They count for events that come in from now on."
EXAMPLE = "loyalty_id"
RESET = "The space has the default rules again. They count for events that come in from now on."


@needs("space.read", POST="space.admin")
def identity_settings(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The rules as a table; for those who may, with `?edit=1` as a form, with `?add=1` a form for one more identifier.

    A POST saves the rules, moves a row, resets them, or adds the identifier.
    """
    within = request.space
    policy = policy_of(within.identity_policy)
    if request.method == "POST":
        if "add" not in request.POST:
            return _change(request, policy)
        form = NewIdentifier(request.POST, current=policy)
        if not form.is_valid():
            return _adding(request, form, status=422)
        change_policy(within, form.policy, by=request)
        messages.success(request, f"{form.cleaned_data['name']} is an identifier of this space. {SAVED}")
        return redirect("identity-settings", workspace=workspace, space=space)
    # Whoever may not change the rules gets the table, whatever the address asks for; the POST is the gate's matter.
    if "add" in request.GET and request.membership.may("space.admin", within):
        return _adding(request, NewIdentifier(current=policy))
    if "edit" in request.GET and request.membership.may("space.admin", within):
        return _page(request, policy, form=rules_form(None, current=policy))
    return _page(request, policy)


def _change(request: PageRequest, policy: Policy) -> HttpResponse:
    here = reverse("identity-settings", args=[request.workspace.slug, request.space.slug])
    if "reset" in request.POST:
        change_policy(request.space, None, by=request)
        messages.success(request, RESET)
        return redirect(here)
    form = rules_form(request.POST, current=policy)
    if not form.is_valid():
        return _page(request, policy, form=form, status=422)
    # A button that moves a row sends the whole form: what was typed before it is saved with it, not lost.
    way, _, type = request.POST.get("move", "").partition(":")
    change_policy(request.space, moved(form.policy, type, up=way == "up") if type else form.policy, by=request)
    messages.success(request, f"{type} was moved {way}. {SAVED}" if type else SAVED)
    return redirect(f"{here}?edit=1" if type else here)


def _adding(request: PageRequest, form: NewIdentifier, *, status: int = 200) -> HttpResponse:
    # Each part of a message, and what stands there for the example. Of externalIds a whole entry: it needs all four.
    examples = []
    for section, keys in places_of(EXAMPLE):
        entry = {"id": "L-1", "type": keys[0], "collection": "users", "encoding": "none"}
        examples.append((section, json.dumps(entry) if section == "context.externalIds" else " or ".join(keys)))
    return render(request, "identity/add_identifier.html", {"form": form, "places": examples}, status=status)


def _page(request: PageRequest, policy: Policy, *, form: Rules | None = None, status: int = 200) -> HttpResponse:
    types = list(policy.rank)
    context: dict[str, Any] = {
        "rules": [
            {"rank": rank, "rule": rule, "custom": is_custom(rule.type)}
            for rank, rule in enumerate(policy.identifiers, 1)
        ],
        "own": [type for type in types if is_custom(type)],
        "seen": queries.seen_types(request.space, types),
        "policy": policy,
        "is_default": request.space.identity_policy is None,
        "form": form,
    }
    return render(request, "identity/settings.html", context, status=status)
