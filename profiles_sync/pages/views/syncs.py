"""Pages about syncs of profiles: the list, a new one, one with its runs, and its settings."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from access.pages.declared_forms import NamedSettings
from access.pages.tables import Pill
from access.requests import PageRequest
from access.services import NotPossible
from profiles_sync import services
from profiles_sync.models import ProfilesSync, SyncRun
from profiles_sync.pages.forms import CHANGED, STARTS, SyncForm
from profiles_sync.running import settings_of
from profiles_sync.stores import all_stores
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs
from spaces.settings_schema import masked

RUNS = 20
LIKE = "Analytics"
NOT_DELETED = "The name you typed is not the name of this sync. Nothing was deleted."
STATES = {
    SyncRun.State.RUNNING: Pill("Running", "busy"),
    SyncRun.State.DONE: Pill("Done", "good"),
    SyncRun.State.FAILED: Pill("Failed", "bad"),
    SyncRun.State.CANCELLED: Pill("Cancelled"),
}


@needs("space.read")
def syncs(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Every sync of the space, with its newest run, and the kinds of warehouses that there are."""
    rows = list(request.space.profiles_syncs.order_by("name", "pk"))
    # One query for the newest run of each.
    newest = SyncRun.objects.filter(sync__in=rows).order_by("sync", "-pk").distinct("sync")
    runs = {run.sync_id: run for run in newest}
    context = {"rows": [_shown(row, runs.get(row.pk)) for row in rows], "kinds": all_stores()}
    return render(request, "profiles_sync/syncs.html", context)


@needs("space.admin")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(POST=CALLS)
def new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """A new sync to a warehouse of the kind `?kind=`, which is tried once."""
    kind = request.GET.get("kind", "")
    if kind not in all_stores():
        return syncs(request, workspace, space)
    about = all_stores()[kind]
    form = NamedSettings(about.settings, request.POST or None, name=about.label, like=LIKE)
    chosen = SyncForm(request.POST or None, initial=STARTS)
    create = partial(services.create_sync, request.space, kind=kind, clock=clock, by=request)
    if chosen.is_valid() and form.save(partial(create, **chosen.cleaned_data)):
        _tell(request, form.saved)
        return redirect("profiles-sync", workspace, space, form.saved.public_id)
    return _form(request, about, form, chosen)


@needs("space.admin")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(POST=CALLS)
def edit(request: PageRequest, workspace: str, space: str, profiles_sync: str) -> HttpResponse:
    """Change where it goes, when, and what of the space."""
    row = _get_or_404(request, profiles_sync)
    about = all_stores()[row.kind]
    values = masked(settings_of(row))
    form = NamedSettings(about.settings, request.POST or None, name=row.name, like=LIKE, values=values)
    chosen = SyncForm(request.POST or None, initial={name: getattr(row, name) for name in CHANGED})
    change = partial(services.change_sync, row, clock=clock, by=request)
    # Saved as `name` and `settings`; a service that changes gives nothing back.
    if chosen.is_valid() and form.save(partial(change, **chosen.cleaned_data)):
        _tell(request, row)
        return redirect("profiles-sync", workspace, space, profiles_sync)
    return _form(request, about, form, chosen, row)


@needs("space.read", POST="space.admin")
@require_http_methods(["GET", "HEAD", "POST"])
@lane(POST=CALLS)
def sync(request: PageRequest, workspace: str, space: str, profiles_sync: str) -> HttpResponse:
    """How far it is, and its runs. A POST does what the button says (`do`), or deletes it (`confirm`)."""
    row, error = _get_or_404(request, profiles_sync), ""
    if "confirm" in request.POST:
        if request.POST["confirm"] == row.name:
            services.delete_sync(row, by=request)
            messages.success(request, f"{row.name} is deleted. What is in the warehouse stays there.")
            return redirect("profiles-syncs", workspace, space)
        error = NOT_DELETED
    elif request.method == "POST":
        try:
            _do(request, row)
            return redirect(request.path)
        except NotPossible as refusal:
            error = str(refusal)
    runs = list(row.runs.order_by("-pk")[:RUNS])
    newest = runs[0] if runs else None
    about, now = all_stores()[row.kind], clock.now()
    context = {
        **_shown(row, newest),
        "about": about,
        "runs": [
            {
                "run": run,
                "state": STATES[SyncRun.State(run.state)],
                "rows": sum(run.rows.values()),
                # In whole seconds: 0:01:12.
                "took": timedelta(seconds=int(((run.finished_at or now) - run.started_at).total_seconds())),
            }
            for run in runs
        ],
        "tables": sorted(newest.rows.items()) if newest else [],
        "chosen": [(what, getattr(row, what)) for what in services.SELECTED if getattr(row, what)],
        "error": error,
    }
    return render(request, "profiles_sync/sync.html", context, status=422 if error else 200)


def _do(request: PageRequest, row: ProfilesSync) -> None:
    """What the button says is done. Raises NotPossible."""
    button = request.POST.get("do", "")
    if button in ("run", "anew"):
        services.run_now(row, anew=button == "anew", clock=clock, by=request)
        messages.success(request, "A run begins.")
    elif button == "cancel":
        services.cancel_run(row, clock=clock, by=request)
        messages.success(request, "The run is cancelled. The next one goes on from where it was.")
    elif button in ("enable", "disable"):
        services.change_sync(row, enabled=button == "enable", clock=clock, by=request)
        messages.success(request, f"{row.name} is {button}d.")
    elif button == "test":
        _tell(request, row)
    else:
        raise NotPossible("There is no such button.")


def _form(
    request: PageRequest, about: Any, form: NamedSettings, chosen: SyncForm, row: ProfilesSync | None = None
) -> HttpResponse:
    context = {"about": about, "row": row, "chosen": chosen, **form.context}
    return render(request, "profiles_sync/form.html", context, status=422 if request.method == "POST" else 200)


def _shown(row: ProfilesSync, newest: SyncRun | None) -> dict[str, Any]:
    is_running = newest is not None and newest.state == SyncRun.State.RUNNING
    total = newest.people_total + newest.events_total if newest else 0
    done = newest.people_done + newest.events_done if newest else 0
    pill = STATES[SyncRun.State(newest.state)] if newest else Pill("Not run yet", "busy")
    return {
        "row": row,
        "label": all_stores()[row.kind].label,
        "newest": newest,
        "state": pill if row.enabled or is_running else Pill("Disabled"),
        "schedule": row.schedule,
        "running": is_running,
        "pending": is_running or (row.enabled and row.next_at is not None and row.next_at <= clock.now()),
        "percent": min(100 * done // total, 100) if total else 0,
        "rows_written": sum(newest.rows.values()) if newest else None,
    }


def _tell(request: PageRequest, row: ProfilesSync) -> None:
    """Whether it can be written to, in a message."""
    # Saved in any case: it may be down for the moment, and the settings be right.
    if why := services.test_sync(row):
        messages.warning(request, f"{row.name} is saved, but cannot be written to: {why}")
    else:
        messages.success(request, f"{row.name} can be written to.")


def _get_or_404(request: PageRequest, public_id: str) -> ProfilesSync:
    return get_object_or_404(request.space.profiles_syncs, public_id=public_id)
