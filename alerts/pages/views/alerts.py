"""Pages about alerts: what is watched for, by which channels people are told, and what was sent."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from access.pages.declared_forms import Declared, NamedSettings, declared_form
from access.pages.tables import Pill, listed
from access.requests import PageRequest
from access.services import NotPossible
from alerts import queries, services
from alerts.channels import all_channels
from alerts.kinds import all_kinds
from alerts.models import AlertChannel, AlertNotification, AlertOccurrence, AlertRule
from alerts.pages.forms import AlertForm
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs
from spaces.settings_schema import InvalidSetting, masked

MOST_OPEN = 50
STATES = {
    AlertNotification.State.PENDING: Pill("Waiting", "busy"),
    AlertNotification.State.SENT: Pill("Sent", "good"),
    AlertNotification.State.FAILED: Pill("Failed", "bad"),
}
ON_FORM = {"subjectId": "subject", "cooldownMinutes": "cooldown_minutes"}  # fields of errors that the form has itself
LIKE = "Data team"
NOT_DELETED = "The name you typed is not its name. Nothing was deleted."


@needs("space.read")
def alerts(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What is wrong now, what is watched for, and by which channels people are told."""
    rules = list(queries.rules_of(request.space).order_by("name", "pk"))
    # Looked up once for each kind, not for each rule: a sentence names what it is about.
    subjects = {
        kind: all_kinds()[kind].subjects(request.space) for kind in {rule.kind for rule in rules if rule.subject}
    }
    open_now = AlertOccurrence.objects.filter(space=request.space, ended_at=None).select_related("rule")
    failed = AlertNotification.objects.filter(space=request.space, state=AlertNotification.State.FAILED)
    context = {
        "rows": [
            {
                "rule": rule,
                "pill": _pill(rule),
                "sentence": queries.sentence_of(rule, subjects.get(rule.kind)),
                "channels": [channel.name for channel in rule.channels.all()],
            }
            for rule in rules
        ],
        "open": open_now.order_by("-pk")[:MOST_OPEN],
        "kinds": all_kinds().values(),
        "channels": [
            (channel, all_channels()[channel.kind].label)
            for channel in AlertChannel.objects.filter(space=request.space).order_by("name", "pk")
        ],
        "channel_kinds": all_channels().values(),
        "failed": failed.exists(),
    }
    return render(request, "alerts/alerts.html", context)


@needs("space.read")
def history(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What was sent, by which channel, and what became of it."""
    rows = AlertNotification.objects.filter(space=request.space).select_related("rule", "channel")
    page, pager = listed(request, rows, order="-id")
    shown = [{"notification": row, "pill": STATES[AlertNotification.State(row.state)]} for row in page]
    return render(request, "alerts/history.html", {"rows": shown, "pager": pager})


@needs("space.admin")
def alert_new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """A new alert of the kind `?kind=`."""
    kind = request.GET.get("kind", "")
    if kind not in all_kinds():
        # Without a kind that there is: the page has the list of them.
        return alerts(request, workspace, space)
    initial = {
        "name": all_kinds()[kind].label,
        "cooldown_minutes": 30,
        "enabled": True,
        # All of them: whoever makes an alert wants to hear of it, and can untick.
        "channels": list(AlertChannel.objects.filter(space=request.space).values_list("public_id", flat=True)),
    }
    form, options = _forms(request, kind, initial, {})
    if request.method == "POST" and all([form.is_valid(), options.is_valid()]):
        try:
            rule = services.create_rule(
                request.space,
                kind=kind,
                **_entered(request, form, options),
                # Messages are sent by a worker, which serves no request and does not know how the console is reached.
                origin=request.build_absolute_uri("/").rstrip("/"),
                by=request,
            )
        except InvalidSetting as error:
            _refuse(form, options, error)
        except NotPossible as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{rule.name} is watched for from now on.")
            return redirect("alerts", workspace, space)
    context = {"kind": all_kinds()[kind], "form": form, "options": options}
    return render(request, "alerts/alert.html", context, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.admin")
def alert(request: PageRequest, workspace: str, space: str, alert: str) -> HttpResponse:
    """One alert: what was wrong, and its settings. A POST changes them, or with `confirm` deletes it."""
    rule = get_object_or_404(queries.rules_of(request.space), public_id=alert)
    if "confirm" in request.POST:
        if request.POST["confirm"] == rule.name:
            services.delete_rule(rule, by=request)
            messages.success(request, f"{rule.name} is deleted.")
            return redirect("alerts", workspace, space)
        return _render_alert(request, rule, *_forms_of(request, rule, unbound=True), error=NOT_DELETED, status=422)
    form, options = _forms_of(request, rule)
    if request.method == "POST" and all([form.is_valid(), options.is_valid()]):
        try:
            services.change_rule(rule, **_entered(request, form, options), now=clock.now(), by=request)
        except InvalidSetting as error:
            _refuse(form, options, error)
        else:
            messages.success(request, "Saved.")
            return redirect(request.path)
    return _render_alert(request, rule, form, options, status=422 if request.method == "POST" else 200)


@needs("space.admin")
def channel_new(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """A new channel of the kind `?kind=`."""
    kind = request.GET.get("kind", "")
    if kind not in all_channels():
        return alerts(request, workspace, space)
    about = all_channels()[kind]
    form = NamedSettings(about.settings, request.POST or None, name=about.label, like=LIKE)
    if form.save(partial(services.create_channel, request.space, kind=kind, by=request)):
        messages.success(request, f"{form.saved.name} is added. Send a test to see that it arrives.")
        return redirect("alert-channel", workspace, space, form.saved.public_id)
    context = {"kind": about, **form.context}
    return render(request, "alerts/channel.html", context, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.admin")
@lane(POST=CALLS)
def channel(request: PageRequest, workspace: str, space: str, channel: str) -> HttpResponse:
    """One channel: its settings, a test, and its end."""
    row = get_object_or_404(AlertChannel.objects.select_related("space"), space=request.space, public_id=channel)
    if request.POST.get("do") == "test":
        tested = services.test_channel(row, now=clock.now())
        return _render_channel(request, row, _channel_form(row), tested=tested)
    if "confirm" in request.POST:
        if request.POST["confirm"] == row.name:
            services.delete_channel(row, by=request)
            messages.success(request, f"{row.name} is deleted.")
            return redirect("alerts", workspace, space)
        return _render_channel(request, row, _channel_form(row), error=NOT_DELETED, status=422)
    form = _channel_form(row, request.POST or None)
    if form.save(partial(services.change_channel, row, by=request)):
        messages.success(request, "Saved.")
        return redirect(request.path)
    return _render_channel(request, row, form, status=422 if request.method == "POST" else 200)


def _pill(rule: Any) -> Pill:
    if not rule.enabled:
        return Pill("Disabled")
    if rule.error:
        return Pill("Cannot be looked at", "warn")
    return Pill(f"{rule.open} open", "bad") if rule.open else Pill("Quiet", "good")


def _forms(
    request: PageRequest, kind: str, initial: Mapping[str, Any], options: Mapping[str, Any], *, unbound: bool = False
) -> tuple[AlertForm, Declared]:
    # Unbound: what was posted was the name to confirm a deletion with, no settings.
    data = None if unbound else request.POST or None
    channels = AlertChannel.objects.filter(space=request.space).order_by("name", "pk")
    form = AlertForm(
        data,
        initial=initial,
        subjects=all_kinds()[kind].subjects(request.space),
        channels=list(channels.values_list("public_id", "name")),
        about=all_kinds()[kind].about,
    )
    return form, declared_form(all_kinds()[kind].options, prefix="options", data=data, values=options)


def _forms_of(request: PageRequest, rule: AlertRule, *, unbound: bool = False) -> tuple[AlertForm, Declared]:
    initial = {name: getattr(rule, name) for name in ("name", "subject", "cooldown_minutes", "enabled")}
    initial["channels"] = [channel.public_id for channel in rule.channels.all()]
    return _forms(request, rule.kind, initial, masked(queries.options_of(rule)), unbound=unbound)


def _channel_form(row: AlertChannel, data: Any = None) -> NamedSettings:
    declared, values = all_channels()[row.kind].settings, masked(queries.settings_of(row))
    return NamedSettings(declared, data, name=row.name, like=LIKE, values=values)


def _entered(request: PageRequest, form: AlertForm, options: Declared) -> dict[str, Any]:
    entries = dict(form.cleaned_data)
    # Looked up in the space: an id of another one is left out, as if it was not there.
    chosen = AlertChannel.objects.filter(space=request.space, public_id__in=entries.pop("channels"))
    return {**entries, "options": options.given, "channels": list(chosen)}


def _refuse(form: AlertForm, options: Declared, error: InvalidSetting) -> None:
    # A service names fields as the API does; of some the form has its own, all others are options.
    if error.field in ON_FORM:
        form.add_error(ON_FORM[error.field], str(error))
    else:
        options.refuse(error)


def _render_alert(
    request: PageRequest, rule: Any, form: AlertForm, options: Declared, *, error: str = "", status: int = 200
) -> HttpResponse:
    context = {
        "rule": rule,
        "kind": all_kinds()[rule.kind],
        "pill": _pill(rule),
        "sentence": queries.sentence_of(rule),
        "occurrences": AlertOccurrence.objects.filter(rule=rule).order_by("-pk")[:MOST_OPEN],
        "form": form,
        "options": options,
        "error": error,
    }
    return render(request, "alerts/alert.html", context, status=status)


def _render_channel(
    request: PageRequest,
    row: AlertChannel,
    form: NamedSettings,
    *,
    tested: AlertNotification | None = None,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "channel": row,
        "kind": all_channels()[row.kind],
        **form.context,
        "facts": [
            (form.settings.fields[name].label, value) for name, value in masked(queries.settings_of(row)).items()
        ],
        "tested": tested,
        "error": error,
    }
    return render(request, "alerts/channel.html", context, status=status)
