"""What pages about audiences and about computed traits share: labels, folders, changes of several, and settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from access.pages.tables import ROWS, url_with
from access.requests import PageRequest
from access.services import NotPossible
from audiences import bulk, overview, services
from audiences.bulk import BulkOutcome
from audiences.models import Audience
from audiences.pages.forms import AudienceSettings
from audiences.rules import folders
from audiences.rules.folders import FolderRefused, tidied_folder
from audiences.rules.labels import LabelRefused, one_label
from spaces.clock import clock

DENSE = "dense"  # the value of `view`
DENSE_ROWS = bulk.MOST_AT_ONCE
MOST_LABELS_SHOWN = 100
MOST_FOLDERS_SHOWN = 100
MOST_PROBLEMS = 5
DONE = {
    bulk.ENABLE: "enabled",
    bulk.DISABLE: "disabled",
    bulk.LABEL: "labelled",
    bulk.MOVE: "moved",
    bulk.DELETE: "deleted",
}


@dataclass(frozen=True)
class Nouns:
    """What the rows of a list are called."""

    one: str
    many: str

    def count(self, rows: Sequence[Any]) -> str:
        return f"{len(rows)} {self.one if len(rows) == 1 else self.many}"


@dataclass(frozen=True)
class LabelLink:
    """A label, and the list of what has it. here: it is that list."""

    label: str
    url: str
    here: bool


def wanted_label(request: HttpRequest) -> str:
    """By which label a list is filtered; "" by none."""
    return request.GET.get("label", "").strip()


def link_labels(request: HttpRequest, labels: Iterable[str]) -> list[LabelLink]:
    wanted = wanted_label(request)
    return [LabelLink(label, url_with(request, label=label), here=label == wanted) for label in labels]


def wanted_folder(request: HttpRequest) -> str:
    """Of which folder a list is; "" of all."""
    return request.GET.get("folder", "").strip(" /")


def filtered(request: HttpRequest, rows: QuerySet[Audience]) -> QuerySet[Audience]:
    """Those that have the label and are in the folder that were asked for, if any were."""
    return overview.kept_in(overview.labelled(rows, wanted_label(request)), wanted_folder(request))


def is_dense(request: HttpRequest) -> bool:
    """Whether as many rows as possible are wanted, each on a line."""
    return request.GET.get("view") == DENSE


def rows_on_a_page(request: HttpRequest) -> int:
    return DENSE_ROWS if is_dense(request) else ROWS


def list_context(request: PageRequest, rows: QuerySet[Audience]) -> dict[str, Any]:
    """What a list shows beside its rows. rows: what it would show without any filter."""
    wanted = wanted_folder(request)
    paths = [*folders.above(wanted), *folders.directly_below(wanted, overview.folders_of(rows))]
    return {
        "label": wanted_label(request),
        "labels": link_labels(request, overview.labels_of(rows)[:MOST_LABELS_SHOWN]),
        "folder": wanted,
        # The way to the folder that the list is of, and the folders in it; each named by the last part of its path.
        "folders": [
            LabelLink(path.rpartition("/")[2], url_with(request, folder=path), here=path == wanted)
            for path in paths[:MOST_FOLDERS_SHOWN]
        ],
        "no_folder_url": url_with(request, folder=""),
        "no_label_url": url_with(request, label=""),
        "dense": is_dense(request),
        "dense_url": url_with(request, view=DENSE),
        "full_url": url_with(request, view=""),
        "kept": [(name, request.GET[name]) for name in ("label", "folder", "view") if request.GET.get(name)],
        "here": request.get_full_path(),
    }


def changed_several(request: PageRequest, rows: QuerySet[Audience], nouns: Nouns) -> HttpResponse:
    """What was asked is done with those that are ticked, and the same list is shown again. Deleting asks first."""
    here, action = request.get_full_path(), request.POST.get("do", "")
    ids = request.POST.getlist("id")
    # As many as a page of the dense list has; the form cannot send more, others can.
    if len(ids) > bulk.MOST_AT_ONCE:
        messages.error(request, f"At most {bulk.MOST_AT_ONCE} can be changed at once.")
        return redirect(here)
    ticked = bulk.chosen(rows, ids)
    if ticked is None:
        raise Http404
    try:
        refusal = "" if ticked else f"Tick the {nouns.many} first."
        if action not in bulk.ACTIONS:
            refusal = "Choose what is to be done with them."
        label = one_label(request.POST.get("label", "")) if action == bulk.LABEL and not refusal else ""
        folder = tidied_folder(request.POST.get("folder", "")) if action == bulk.MOVE else ""
    except (LabelRefused, FolderRefused) as error:
        refusal = str(error)
    if refusal:
        messages.error(request, refusal)
        return redirect(here)
    # What has to be typed names what is lost: the one, or how many.
    phrase = ticked[0].name if len(ticked) == 1 else nouns.count(ticked)
    if action == bulk.DELETE and request.POST.get("confirm") != phrase:
        misspelt = f"You did not type “{phrase}”. Nothing was deleted." if "confirm" in request.POST else ""
        context = {"ticked": ticked, "phrase": phrase, "title": nouns.count(ticked), "here": here, "error": misspelt}
        return render(request, "audiences/delete_several.html", context, status=422 if misspelt else 200)
    _tell(request, bulk.act(ticked, action, label=label, folder=folder, now=clock.now(), by=request), action, nouns)
    return redirect(here)


def _tell(request: PageRequest, outcomes: Sequence[BulkOutcome], action: str, nouns: Nouns) -> None:
    done = [outcome for outcome in outcomes if not outcome.problem]
    refused = [outcome for outcome in outcomes if outcome.problem]
    if done:
        messages.success(request, f"{nouns.count(done)} {'is' if len(done) == 1 else 'are'} {DONE[action]}.")
    for outcome in refused[:MOST_PROBLEMS]:
        messages.error(request, f"{outcome.audience.name}: {outcome.problem}")
    if len(refused) > MOST_PROBLEMS:
        messages.error(request, f"And {len(refused) - MOST_PROBLEMS} more could not be {DONE[action]}.")


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
