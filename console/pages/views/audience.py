"""Pages about one audience: what became of it, its settings, and where it goes."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from access.pages.tables import Pill, csv_of
from access.requests import PageRequest
from access.services import NotPossible
from audiences import overview
from audiences import services as audiences
from audiences.models import Audience
from audiences.overview import Overview
from audiences.pages import presenters as read
from audiences.pages.forms import AudienceSettings
from audiences.pages.views.audiences import STATUSES, UPDATING
from destinations import queries, services
from destinations.adapters import adapter_of
from destinations.models import Subscription
from destinations.pages.destination_picker import CHOSEN, choices, picked
from destinations.pages.forms import Declared, declared_form
from destinations.pages.presenters import NOT_DELETED, catches, grouped, with_counts, with_tallies
from destinations.pages.return_to import NEW, made_meanwhile, to_make_one
from destinations.reconciliation import differing, looked_up
from destinations.rules.settings_schema import InvalidSetting, camel
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

MOVING = (Subscription.Status.WAITING, Subscription.Status.SYNCING, Subscription.Status.RETRYING)


@needs("space.read", POST="space.use")
def audience(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """Who is meant, how many they are, how that came about, what is known of them, and where they go."""
    seen = _seen(request, audience)
    if request.method == "POST":
        return _switched(request, seen.audience)
    going = seen.audience.subscriptions.select_related("audience", "destination").order_by("destination__name", "id")
    context = {
        **_about(seen),
        "exact_at": seen.exact_at or overview.as_of(request.space),
        "put_back": overview.put_back(request.space, clock.now()),
        "steps": read.steps(seen),
        "chart": read.size_over_time(seen.audience, clock.now()),
        "moved": read.moved_lately(seen.audience),
        "known": read.breakdown(seen.audience),
        "people": read.some_of(seen.audience),
        "going": with_tallies(list(going)),
    }
    return render(request, "audiences/audience.html", context)


@needs("space.use")
@lane(QUERIES)
def members(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponseBase:
    """Everybody in it as a file, written as it is read."""
    found = _seen(request, audience).audience
    return csv_of(found.key, read.DOWNLOAD, read.download(found))


@needs("space.read", POST="space.use")
def settings(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """Its name and description, whether it is kept up to date, and its end."""
    seen = _seen(request, audience)
    found = seen.audience
    now = {"name": found.name, "description": found.description, "enabled": found.enabled}
    if request.method != "POST":
        return render(request, "audiences/settings.html", {**_about(seen), "form": AudienceSettings(initial=now)})
    if "confirm" in request.POST:
        return _deleted(request, seen, AudienceSettings(initial=now))
    form = AudienceSettings(request.POST)
    if form.is_valid():
        audiences.change_audience(found, **form.cleaned_data, by=request)
        messages.success(request, "Saved.")
        return redirect("audience-settings", workspace=workspace, space=space, audience=audience)
    return render(request, "audiences/settings.html", {**_about(seen), "form": form}, status=422)


@needs("space.use")
def connect(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """Choose the destinations that the audience goes to as well."""
    seen = _seen(request, audience)
    free = request.space.destinations.exclude(subscriptions__audience=seen.audience).order_by("name", "id")
    rows = choices(free, data=request.POST if request.method == "POST" else None, chosen=made_meanwhile(request))
    wrong = ""
    if request.method == "POST":
        if request.POST.get("to") == NEW:
            ticked = [(CHOSEN, row.destination.public_id) for row in rows if row.chosen]
            return redirect(to_make_one(request, f"{request.path}?{urlencode(ticked)}".rstrip("?")))
        wanted = picked(rows)
        wrong = "" if wanted or wanted is None else "Choose at least one destination."
        if wanted:
            try:
                services.subscribe_all(seen.audience, wanted, by=request)
            except services.Unsuitable as error:
                wrong = _unsuitable(error, rows)
            else:
                names = ", ".join(destination.name for destination, _ in wanted)
                messages.success(request, f"{seen.audience.name} goes to {names} from now on.")
                return redirect("audience", workspace=workspace, space=space, audience=audience)
    context = {**_about(seen), "groups": grouped((row.style, row) for row in rows), "wrong": wrong}
    return render(request, "destinations/connect.html", context, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.use")
def subscription(request: PageRequest, workspace: str, space: str, audience: str, subscription: str) -> HttpResponse:
    """Whether the destination holds whom it should: counts, who differs and why, and any one person."""
    seen = _seen(request, audience)
    row = (
        seen.audience.subscriptions.select_related("audience", "destination", "space")
        .filter(public_id=subscription)
        .first()
    )
    if row is None:
        raise Http404
    if request.method != "POST":
        return _compared(request, seen, row, _options(row))
    if "confirm" in request.POST:
        return _disconnected(request, seen, row)
    doing = request.POST.get("do", "")
    if doing in DOING:
        act, said = DOING[doing]
        act(row, request)
        messages.success(request, said)
        return redirect(request.path)
    return _options_changed(request, seen, row)


DOING = {
    "resync": (lambda row, by: services.resync(row, by=by), "Everybody is said anew, from now on."),
    "resume": (lambda row, by: services.resume(row, by=by), "It is tried again now."),
    "enable": (lambda row, by: services.change_subscription(row, enabled=True, by=by), "It goes there again."),
    "disable": (lambda row, by: services.change_subscription(row, enabled=False, by=by), "Nothing more goes there."),
}


def _compared(
    request: PageRequest, seen: Overview, row: Subscription, options: Declared, *, wrong: str = "", status: int = 200
) -> HttpResponse:
    (counted,) = with_tallies([row])
    wanted = request.GET.get("q", "").strip()[:500]
    context = {
        **_about(seen),
        **counted,
        **with_counts(queries.count_now(row)),
        "label": adapter_of(row.destination.kind).label,
        "catches": catches(row.destination),
        "computing": seen.audience.serving_id is None,
        "moving": row.counts.get("due", 0) > 0 or row.status in MOVING,
        "differing": differing(row),
        "wanted": wanted,
        "people": looked_up(row, wanted) if wanted else [],
        "options": options,
        "wrong": wrong,
    }
    return render(request, "destinations/subscription.html", context, status=status)


def _options(row: Subscription, data: Any = None) -> Declared:
    values = {camel(name): value for name, value in row.options.items()}
    return declared_form(adapter_of(row.destination.kind).options, prefix="options", data=data, values=values)


def _options_changed(request: PageRequest, seen: Overview, row: Subscription) -> HttpResponse:
    options = _options(row, request.POST)
    if options.is_valid():
        try:
            services.change_subscription(row, options=options.given, by=request)
        except InvalidSetting as error:
            options.refuse(error)
        else:
            messages.success(request, "Saved. It counts from the next call on.")
            return redirect(request.path)
    return _compared(request, seen, row, options, status=422)


def _disconnected(request: PageRequest, seen: Overview, row: Subscription) -> HttpResponse:
    if request.POST["confirm"] != row.destination.name:
        wrong = "Nothing was disconnected: the name that was typed is another one."
        return _compared(request, seen, row, _options(row), wrong=wrong, status=422)
    services.unsubscribe(row, by=request)
    messages.success(request, f"Nothing more goes to {row.destination.name}. Who is there stays there.")
    return _to(request, seen.audience)


def _switched(request: PageRequest, found: Audience) -> HttpResponse:
    doing = request.POST.get("do", "")
    if doing in ("enable", "disable"):
        audiences.change_audience(found, enabled=doing == "enable", by=request)
        messages.success(request, f"{found.name} is {doing}d.")
    return _to(request, found)


def _deleted(request: PageRequest, seen: Overview, form: AudienceSettings) -> HttpResponse:
    wrong = "" if request.POST["confirm"] == seen.audience.name else NOT_DELETED
    if not wrong:
        try:
            audiences.delete_audience(seen.audience, now=clock.now(), by=request)
        except NotPossible as error:
            wrong = str(error)
    if wrong:
        return render(request, "audiences/settings.html", {**_about(seen), "form": form, "wrong": wrong}, status=422)
    messages.success(request, f"{seen.audience.name} is deleted.")
    return redirect("audiences", workspace=request.workspace.slug, space=request.space.slug)


def _unsuitable(error: services.Unsuitable, rows: Any) -> str:
    """What to say on top; nothing when it can be said next to the field."""
    if not isinstance(error.error, InvalidSetting):
        return str(error)
    next(row for row in rows if row.destination == error.destination).options.refuse(error.error)
    return ""


def _about(seen: Overview) -> dict[str, Any]:
    state: Pill = UPDATING if seen.updating else STATUSES[seen.status]
    return {"audience": seen.audience, "seen": seen, "state": state}


def _seen(request: PageRequest, public_id: str) -> Overview:
    seen = read.found(request.space, public_id)
    if seen is None:
        raise Http404
    return seen


def _to(request: PageRequest, found: Audience) -> HttpResponse:
    return redirect("audience", workspace=request.workspace.slug, space=request.space.slug, audience=found.public_id)
