"""Pages about destinations: those of the space, the catalogue, and one destination with its settings."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from access.pages.declared_forms import NamedSettings
from access.requests import PageRequest
from destinations import queries, services
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Destination
from destinations.pages.presenters import NOT_DELETED, STYLES, back_with, catches, grouped, with_tallies, working
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs
from spaces.settings_schema import masked

LIKE = "Newsletter tool"


@needs("space.read")
def destinations(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The tools where people of this space are needed, grouped by whether people go there as events or as a list."""
    living = Count("subscriptions", filter=Q(subscriptions__audience__deleted_at=None))
    rows = (
        queries.with_subscriptions(request.space.destinations.all()).annotate(audiences=living).order_by("name", "id")
    )
    groups = grouped(
        (
            queries.style_of(row),
            {
                "row": row,
                "label": adapter_of(row.kind).label,
                "pill": working(row),
                "audiences": row.audiences,
                "catches": catches(row),
            },
        )
        for row in rows
    )
    return render(request, "destinations/destinations.html", {"groups": groups})


@needs("space.read")
def catalog(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Every kind of destination, as cards by style; with `?q=` those that have its words."""
    return _catalog(request)


@needs("space.admin")
@lane(POST=CALLS)
def create(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """A new destination of the kind `?kind=`, which is called once. A generated secret is shown once, in the answer."""
    kind = request.GET.get("kind", "")
    if kind not in all_adapters():
        return _catalog(request)
    adapter = adapter_of(kind)
    # The card that was clicked says it; whoever came otherwise chooses in the form.
    chosen = {"style": request.GET["style"]} if request.GET.get("style") in STYLES else {}
    form = NamedSettings(adapter.settings, request.POST or None, name=adapter.label, like=LIKE, values=chosen)
    if form.save(partial(services.create_destination, request.space, kind=kind, by=request)):
        return _created(request, *form.saved)
    context = {"adapter": adapter, **form.context, "next": _next(request)}
    return render(request, "destinations/create.html", context, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.admin")
@lane(POST=CALLS)
def destination(request: PageRequest, workspace: str, space: str, destination: str) -> HttpResponse:
    """One destination: what goes there, its settings, a test call, and its end."""
    instance = get_object_or_404(request.space.destinations, public_id=destination)
    form = _form(instance)
    doing = request.POST.get("do", "")
    if request.method != "POST":
        return _page(request, instance, form)
    if "confirm" in request.POST:
        if request.POST["confirm"] != instance.name:
            return _page(request, instance, form, wrong=NOT_DELETED, status=422)
        services.delete_destination(instance, by=request)
        messages.success(request, f"{instance.name} is deleted. Whoever is in the tool stays there.")
        return redirect("destinations", workspace=workspace, space=space)
    if doing == "test":
        return _page(request, instance, form, tested=services.test_destination(instance, now=clock.now()))
    if doing in ("enable", "disable"):
        services.change_destination(instance, enabled=doing == "enable", by=request)
        messages.success(request, f"{instance.name} is {doing}d.")
        return redirect("destination", workspace=workspace, space=space, destination=destination)
    return _changed(request, instance)


def _changed(request: PageRequest, destination: Destination) -> HttpResponse:
    """The page again when something is wrong, or when a secret was generated, which is shown this once."""
    form = _form(destination, request.POST)
    if not form.save(partial(services.change_destination, destination, by=request)):
        return _page(request, destination, form, status=422)
    if form.saved:
        return _show_secrets_once(request, destination, form.saved, "destination")
    messages.success(request, "The settings are saved. They count from the next call on.")
    return redirect(request.path)


def _created(request: PageRequest, destination: Destination, secrets: dict[str, str]) -> HttpResponse:
    # At once, while whoever typed the key still has it before them. What it says keeps nothing from being created.
    test = services.test_destination(destination, now=clock.now())
    if test.ok:
        messages.success(request, f"{destination.name} is ready: a first call was answered as it should be.")
    else:
        reason = test.message.rstrip(".")
        messages.warning(
            request, f"{destination.name} is created, but a first call failed: {reason}. Nothing was lost."
        )
    following = back_with(destination, _next(request))
    if secrets:
        return _show_secrets_once(request, destination, secrets, "created", following)
    if following:
        return redirect(following)
    return redirect(
        "destination", workspace=request.workspace.slug, space=request.space.slug, destination=destination.public_id
    )


def _show_secrets_once(
    request: PageRequest, destination: Destination, secrets: dict[str, str], did: str, following: str = ""
) -> HttpResponse:
    """A page that no cache stores, with secrets that nobody sees again."""
    labels = {field["name"]: field["label"] for field in queries.described_settings(destination)}
    rows = [(name, labels[name], value) for name, value in secrets.items()]
    context = {"destination": destination, "secrets": rows, "did": did, "next": following}
    response = render(request, "destinations/secrets.html", context)
    # Neither a proxy nor the back button shows it again.
    response.headers["Cache-Control"] = "no-store"
    return response


def _form(destination: Destination, data: Any = None) -> NamedSettings:
    declared, values = adapter_of(destination.kind).settings, masked(queries.settings_of(destination))
    return NamedSettings(declared, data, name=destination.name, like=LIKE, values=values)


def _page(
    request: PageRequest,
    destination: Destination,
    form: NamedSettings,
    *,
    tested: services.TestResult | None = None,
    wrong: str = "",
    status: int = 200,
) -> HttpResponse:
    going = destination.subscriptions.filter(audience__deleted_at=None).select_related("audience", "destination")
    declared, facts = queries.described_settings(destination), masked(queries.settings_of(destination))
    context = {
        "destination": destination,
        "adapter": adapter_of(destination.kind),
        "pill": working(destination),
        "catches": catches(destination),
        "going": with_tallies(list(going.order_by("audience__name", "id"))),
        "facts": [(field["label"], facts[field["name"]]) for field in declared],
        "secretive": any(field["secret"] for field in declared),
        **form.context,
        "tested": tested,
        "wrong": wrong,
    }
    return render(request, "destinations/destination.html", context, status=status)


def _catalog(request: PageRequest) -> HttpResponse:
    """The kinds whose card has every word of `?q=`, by name."""
    wanted = request.GET.get("q", "").strip()[:100]
    kinds = sorted(all_adapters().values(), key=lambda adapter: adapter.label.lower())
    words = wanted.lower().split()
    shown = [kind for kind in kinds if all(word in f"{kind.label} {kind.description}".lower() for word in words)]
    cards = [(style, kind) for kind in shown for style in kind.capabilities.styles]
    context = {"groups": grouped(cards), "next": _next(request), "wanted": wanted}
    return render(request, "destinations/catalog.html", context)


def _next(request: PageRequest) -> str:
    """Where somebody came from to make a destination, if that is a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    # No host is allowed: a link must not lead from here to somebody else's page.
    return wanted if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else ""
