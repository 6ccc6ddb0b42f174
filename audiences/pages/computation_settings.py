"""The settings of an audience or a computed trait: saved, or with `confirm` deleted."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from access.requests import PageRequest
from access.services import NotPossible
from audiences import services
from audiences.models import Audience
from audiences.pages.forms import AudienceSettings
from spaces.clock import clock

EXITS_FIRST = "exits_first"  # ticked: everyone is sent out before it is deleted


def settled(
    request: PageRequest, row: Audience, *, listing: str, misspelt: str
) -> tuple[AudienceSettings, str, HttpResponse | None]:
    """The form, what is wrong beside it, and where the browser goes when it is done. listing: the page of a list.

    misspelt: what is said to whoever typed another name than that of what they wanted to delete.
    """
    initial = {name: getattr(row, name) for name in ("name", "description", "labels", "folder", "enabled")}
    form = AudienceSettings(initial=initial)
    if "confirm" in request.POST:
        if request.POST["confirm"] != row.name:
            return form, misspelt, None
        try:
            # Two ways to delete: at once, and whoever is in a tool stays there; or first everybody is taken out of
            # the tools.
            if EXITS_FIRST in request.POST:
                services.end_audience(row, now=clock.now(), by=request)
                messages.success(request, f"{row.name} is deleted as soon as everyone in it has been sent out.")
                return form, "", redirect(request.path)
            services.delete_audience(row, now=clock.now(), by=request)
        except NotPossible as refusal:
            return form, str(refusal), None
        messages.success(request, f"{row.name} was deleted.")
        return form, "", redirect(listing, request.workspace.slug, request.space.slug)
    if request.method == "POST":
        form = AudienceSettings(request.POST, initial=initial)
        if form.is_valid():
            services.change_audience(row, **form.cleaned_data, by=request)
            messages.success(request, "Saved.")
            return form, "", redirect(request.path)
    return form, "", None
