"""Settings → Identity: the rules by which a space tells who is who, to be read and, for its admins, changed."""

import json
from typing import Any, cast

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.requests import PageRequest
from access.services import NotPossible
from identity import queries
from identity.dry_run_reads import changes_of
from identity.models import DryRun, Identifier
from identity.pages.forms import MOST_OF_A_TYPE, NewIdentifier, Rules, rules_form
from identity.pages.views.dry_runs import PILLS
from identity.rules.extract import is_custom, places_of
from identity.rules.insights import with_block, with_limit
from identity.rules.policy import PER, Limit, Period, Policy, moved, policy_of
from identity.services import change_policy, try_rules
from spaces import personal
from spaces.needs import needs

LATEST = 5  # dry runs that are listed
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
        if request.POST["add"] == "try":
            return _tried(request, form.policy)
        change_policy(within, form.policy, by=request)
        messages.success(request, f"{form.cleaned_data['name']} is an identifier of this space. {SAVED}")
        return redirect("identity-settings", workspace=workspace, space=space)
    # Whoever may not change the rules gets the table, whatever the address asks for; the POST is the gate's matter.
    if "add" in request.GET and request.membership.may("space.admin", within):
        return _adding(request, NewIdentifier(current=policy))
    if "edit" in request.GET and request.membership.may("space.admin", within):
        return _filled_in(request, policy)
    return _page(request, policy)


def _change(request: PageRequest, policy: Policy) -> HttpResponse:
    here = reverse("identity-settings", args=[request.workspace.slug, request.space.slug])
    if request.POST.get("reset") == "try":
        return _tried(request, None)
    if "reset" in request.POST:
        change_policy(request.space, None, by=request)
        messages.success(request, RESET)
        return redirect(here)
    form = rules_form(request.POST, current=policy)
    if not form.is_valid():
        return _page(request, policy, form=form, status=422)
    if "try" in request.POST:
        return _tried(request, form.policy)
    # A button that moves a row sends the whole form: what was typed before it is saved with it, not lost.
    way, _, type = request.POST.get("move", "").partition(":")
    change_policy(request.space, moved(form.policy, type, up=way == "up") if type else form.policy, by=request)
    messages.success(request, f"{type} was moved {way}. {SAVED}" if type else SAVED)
    return redirect(f"{here}?edit=1" if type else here)


def _filled_in(request: PageRequest, policy: Policy) -> HttpResponse:
    """The form, with what an address asks for: `block=` numbers of identifiers, `limit=anonymous_id:5:weekly`."""
    noted = []
    numbers = [int(number) for number in request.GET.getlist("block") if number.isdecimal() and len(number) < 19]
    hubs = list(Identifier.objects.filter(space=request.space, number__in=numbers, type__in=policy.rank))
    for hub in hubs:
        policy = with_block(policy, (hub.type, hub.value))
    if len(hubs) == 1:
        noted.append(f"{hubs[0].type} {personal.value(hubs[0].type, hubs[0].value)} is blocked in this form.")
    elif hubs:
        noted.append(f"{len(hubs)} values of {', '.join(sorted({hub.type for hub in hubs}))} are blocked in this form.")
    for asked in request.GET.getlist("limit"):
        type, _, limit = asked.partition(":")
        count, _, period = limit.partition(":")
        if type in policy.rank and count.isdecimal() and 0 < int(count[:9]) <= MOST_OF_A_TYPE and period in PER:
            advised = Limit(int(count[:9]), cast(Period, period))
            policy = with_limit(policy, type, advised)
            noted.append(f"{type} has the limit {advised} in this form.")
    return _page(request, policy, form=rules_form(None, current=policy), filled_in=" ".join(noted))


def _tried(request: PageRequest, policy: Policy | None) -> HttpResponse:
    """What these rules would come to is being worked out; its page is what follows."""
    here = (request.workspace.slug, request.space.slug)
    try:
        dry_run = try_rules(request.space, policy, by=request)
    except NotPossible as error:
        messages.error(request, str(error))
        return redirect("identity-settings", *here)
    return redirect("identity-dry-run", *here, dry_run.public_id)


def _adding(request: PageRequest, form: NewIdentifier, *, status: int = 200) -> HttpResponse:
    # Each part of a message, and what stands there for the example. Of externalIds a whole entry: it needs all four.
    examples = []
    for section, keys in places_of(EXAMPLE):
        entry = {"id": "L-1", "type": keys[0], "collection": "users", "encoding": "none"}
        examples.append((section, json.dumps(entry) if section == "context.externalIds" else " or ".join(keys)))
    return render(request, "identity/add_identifier.html", {"form": form, "places": examples}, status=status)


def _page(
    request: PageRequest, policy: Policy, *, form: Rules | None = None, status: int = 200, filled_in: str = ""
) -> HttpResponse:
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
        "filled_in": filled_in,
        "tried": [
            (dry_run, PILLS[DryRun.State(dry_run.state)], changes_of(dry_run))
            for dry_run in DryRun.objects.filter(space=request.space).order_by("-id")[:LATEST]
        ],
    }
    return render(request, "identity/settings.html", context, status=status)
