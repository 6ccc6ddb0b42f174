"""Pages about one audience: its state, its settings, and the destinations to which it, or a computed trait, is sent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from access.gate import require
from access.pages.declared_forms import Declared, declared_form
from access.pages.tables import exported
from access.requests import PageRequest
from access.services import NotPossible
from audiences import history, overview
from audiences import services as audiences
from audiences.models import Audience
from audiences.overview import Overview
from audiences.pages import presenters
from audiences.pages.lists import EXITS_FIRST, settled
from audiences.pages.views.audiences import pill_of
from destinations import queries, services
from destinations.adapters import adapter_of
from destinations.endings import leaving
from destinations.models import Subscription
from destinations.pages.destination_picker import CHOSEN, choices, picked
from destinations.pages.presenters import (
    NEW,
    NOT_DELETED,
    catches,
    grouped,
    made_meanwhile,
    to_make_one,
    with_counts,
    with_tallies,
)
from destinations.reconciliation import differing, looked_up
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs
from spaces.settings_schema import InvalidSetting, camel


@dataclass(frozen=True)
class ComputationPlace:
    """Where an audience or a computed trait is in the console. listing: the title and address of its list.

    about: what is sent of it. inside, outside: of those whom a destination should have, and of others.
    """

    listing: str
    listing_url: str
    url: str
    about: str
    inside: str
    outside: str


UNSETTLED = (Subscription.Status.WAITING, Subscription.Status.SYNCING, Subscription.Status.RETRYING)
LONGEST = 500  # characters of an identifier that is looked up
MOST_COMPARABLE = 1000  # audiences to choose from


@needs("space.read", POST="space.use")
def audience(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """The conditions, size, history, people and destinations of an audience. A POST enables or disables it."""
    details = presenters.overview_or_404(request.space, audience)
    if request.method == "POST":
        action = request.POST.get("do", "")
        if action in ("enable", "disable"):
            audiences.change_audience(details.audience, enabled=action == "enable", by=request)
            messages.success(request, f"{details.audience.name} is {action}d.")
        return redirect("audience", workspace=workspace, space=space, audience=audience)
    subscriptions = details.audience.subscriptions.select_related("audience", "destination")
    others = Audience.objects.filter(
        space=request.space, of=details.audience.of, deleted_at=None, serving__isnull=False
    )
    others = others.exclude(pk=details.audience.pk).order_by("name", "pk")
    compared = others.filter(public_id=request.GET.get("with", "")).first()
    context = {
        **_header(details),
        "comparable": others.values_list("public_id", "name")[:MOST_COMPARABLE],
        "compared": compared,
        "overlap": compared and history.overlap(details.audience, compared),
        "exact_at": details.exact_at or overview.as_of(request.space),
        "put_back": overview.put_back(request.space, clock.now()),
        "steps": presenters.steps(details),
        "chart": presenters.size_over_time(details.audience, clock.now()),
        "changes": presenters.moved_lately(details.audience),
        "identifiers": presenters.breakdown(details.audience),
        "people": presenters.some_of(details.audience),
        "going": with_tallies(list(subscriptions.order_by("destination__name", "id"))),
    }
    return render(request, "console/audience.html", context)


@needs("space.pii")
@lane(QUERIES)
def members(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponseBase:
    """All members as a CSV file, streamed."""
    # In the lane of queries: it reads every member, and must not keep other pages waiting.
    wanted = presenters.overview_or_404(request.space, audience).audience
    return exported(request, wanted.key, presenters.DOWNLOAD, presenters.download(wanted))


@needs("space.read", POST="space.use")
def settings(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """Name, description and whether it is enabled. A POST changes them, or with `confirm` deletes the audience."""
    details = presenters.overview_or_404(request.space, audience)
    form, error, done = settled(request, details.audience, listing="audiences", misspelt=NOT_DELETED)
    if done:
        return done
    context = {
        **_header(details),
        "form": form,
        "error": error,
        "exits_first": EXITS_FIRST if details.audience.subscriptions.exists() else "",
        "leaving": leaving(details.audience) if details.audience.ending_at else [],
    }
    return render(request, "console/audience_settings.html", context, status=422 if request.method == "POST" else 200)


@needs("space.use")
def connect(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """Choose further destinations for the audience, or the computed trait."""
    details = _get_any_or_404(request, audience)
    available = request.space.destinations.exclude(subscriptions__audience=details.audience).order_by("name", "id")
    data = request.POST if request.method == "POST" else None
    cards = choices(
        available, kind=details.audience.kind, of=details.audience.of, data=data, chosen=made_meanwhile(request)
    )
    error = ""
    if request.method == "POST":
        if request.POST.get("to") == NEW:
            # The address takes the ticks along, so that they are still there when one comes back.
            ticked = [(CHOSEN, card.destination.public_id) for card in cards if card.chosen]
            return redirect(to_make_one(request, f"{request.path}?{urlencode(ticked)}".rstrip("?")))
        chosen = picked(cards)
        if chosen:
            try:
                services.subscribe_all(details.audience, chosen, by=request)
            except services.Unsuitable as refusal:
                if isinstance(refusal.error, InvalidSetting):  # shown next to its field
                    next(card for card in cards if card.destination == refusal.destination).options.refuse(
                        refusal.error
                    )
                else:
                    error = str(refusal)
            else:
                names = ", ".join(destination.name for destination, _ in chosen)
                messages.success(request, f"{details.audience.name} is now sent to {names}.")
                return redirect(_place(details.audience, request).url)
        elif chosen is not None:  # None: the options of a chosen one are wrong, which its form says
            error = "Choose at least one destination."
    context = {
        **_header(details),
        "place": _place(details.audience, request),
        "groups": grouped((card.style, card) for card in cards),
        "error": error,
    }
    return render(request, "console/audience_connect.html", context, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.use")
def subscription(request: PageRequest, workspace: str, space: str, audience: str, subscription: str) -> HttpResponse:
    """Whether the destination has whom it should have: counts, differences with their reasons, and a look-up.

    A POST does one of ACTIONS (`do`), disconnects (`confirm`), or changes the options.
    """
    details = _get_any_or_404(request, audience)
    place = _place(details.audience, request)
    rows = details.audience.subscriptions.select_related("audience", "destination", "space")
    row = get_object_or_404(rows, public_id=subscription)
    options, error = _options_form(row), ""
    if "confirm" in request.POST:
        if request.POST["confirm"] == row.destination.name:
            services.unsubscribe(row, by=request)
            messages.success(request, f"Nothing more is sent to {row.destination.name}. Who is there stays there.")
            return redirect(place.url)
        error = "The name you typed is not the name of this destination. Nothing was disconnected."
    elif request.POST.get("do", "") in ACTIONS:
        if request.POST["do"] in OF_ADMINS:
            require(request, "space.admin")
        act, done = ACTIONS[request.POST["do"]]
        try:
            act(row, request)
        except NotPossible as refusal:
            messages.info(request, f"{refusal}.")
        else:
            messages.success(request, done)
        return redirect(request.path)
    elif request.method == "POST":
        options = _options_form(row, request.POST)
        if options.is_valid():
            try:
                services.change_subscription(row, options=options.given, by=request)
            except InvalidSetting as refusal:
                options.refuse(refusal)
            else:
                messages.success(request, "Saved. The next call uses these options.")
                return redirect(request.path)
    text = request.GET.get("q", "").strip()[:LONGEST]
    (with_tally,) = with_tallies([row])
    comparison = queries.compare_in_full(row, queries.desired_members(row))
    context = {
        **_header(details),
        "place": place,
        **with_tally,
        **with_counts(comparison.counts),
        "queued": comparison,
        "cap": queries.sending_of(row).cap_percent,
        "label": adapter_of(row.destination.kind).label,
        "catches": catches(row.destination),
        "computing": details.audience.serving_id is None,
        "unsettled": row.counts.get("due", 0) > 0 or row.status in UNSETTLED,
        "differing": differing(row),
        "wanted": text,
        "people": looked_up(row, text) if text else [],
        "options": options,
        "error": error,
    }
    return render(request, "console/subscription.html", context, status=422 if request.method == "POST" else 200)


# What the buttons of a subscription do, and the message afterwards.
ACTIONS: dict[str, tuple[Callable[[Subscription, PageRequest], object], str]] = {
    "resync": (lambda row, by: services.resync(row, by=by), "Everyone is being sent again."),
    "resume": (lambda row, by: services.resume(row, by=by), "Trying again now."),
    "nod": (lambda row, by: services.nod(row, by=by), "What waited for a nod is being sent."),
    "recall": (
        lambda row, by: services.recall(row, now=clock.now(), by=by),
        "Everyone is being taken out again, and nobody is sent there.",
    ),
    "send_again": (lambda row, by: services.send_again(row, by=by), "Everyone is being sent again."),
    "enable": (lambda row, by: services.change_subscription(row, enabled=True, by=by), "Sending goes on."),
    "disable": (lambda row, by: services.change_subscription(row, enabled=False, by=by), "Sending is paused."),
}


OF_ADMINS = ("nod",)


def _options_form(row: Subscription, data: Any = None) -> Declared:
    # Stored by the name of the field, in the form by the name that the API uses.
    values = {camel(name): value for name, value in row.options.items()}
    declared = adapter_of(row.destination.kind).options_for(row.audience.kind)
    return declared_form(declared, prefix="options", data=data, values=values)


def _header(details: Overview) -> dict[str, Any]:
    """What the head of every page about the audience shows."""
    return {"audience": details.audience, "seen": details, "state": pill_of(details)}


def _get_any_or_404(request: PageRequest, public_id: str) -> Overview:
    """The audience or the computed trait of this id."""
    trait = overview.traits_of(request.space).filter(public_id=public_id).first()
    return overview.overview(trait) if trait else presenters.overview_or_404(request.space, public_id)


def _place(row: Audience, request: PageRequest) -> ComputationPlace:
    slugs = [request.workspace.slug, request.space.slug]
    if row.kind == Audience.Kind.TRAIT:
        url = reverse("computed-trait", args=[*slugs, row.public_id])
        return ComputationPlace(
            "Computed traits",
            reverse("computed-traits", args=slugs),
            url,
            about="Everybody's value is sent there once, then each new one.",
            inside="They have a value.",
            outside="They have no value.",
        )
    url = reverse("audience", args=[*slugs, row.public_id])
    return ComputationPlace(
        "Audiences",
        reverse("audiences", args=slugs),
        url,
        about=f"Everyone in {row.name} is sent there once, then whoever enters and leaves.",
        inside="They are in the audience.",
        outside="They are not in the audience.",
    )
