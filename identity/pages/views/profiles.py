"""Pages about people: the list, and one profile."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from pyroaring import BitMap

from access.gate import require
from access.pages.charts import bars
from access.pages.tables import Pager, TablePage, exported, filtered_by, listed, row_number, wants_csv
from access.requests import PageRequest
from identity import queries, services
from identity.derived import SearchFailed, TraitQuery, TraitSearch
from identity.models import KEY_LENGTH, Profile
from identity.pages import presenters
from identity.pages.forms import NoteForm
from identity.pages.graph_svg import Fact, picture
from identity.pages.presenters import IdentifierRow, MergeRow, Person
from sources.events.timeline import EVERY
from spaces import personal
from spaces.clock import clock
from spaces.models import Space
from spaces.needs import needs

KINDS = (("users", "People"), ("accounts", "Accounts"))
CSV_HEADER = ("Name", "E-mail", "Identifiers", "First seen", "Last changed", "Profile id")
LONGEST_LIST = 12_000  # characters of a pasted list: it is in the address, so that it can be sent to somebody
LONGEST_VALUE = 200
IN_SHEET = 8  # traits and identifiers that the side sheet shows


@needs("space.read")
def profiles(request: PageRequest, workspace: str, space: str, having: TraitSearch) -> HttpResponseBase:
    """People, or accounts, newest first; or those whom a search finds. All of them as CSV."""
    within = request.space
    wanted = filtered_by(request)
    kind = request.GET.get("kind", "users") if request.GET.get("kind") in queries.COLLECTIONS else "users"
    pasted = request.GET.get("list", "")[:LONGEST_LIST].strip()
    trait = TraitQuery(
        request.GET.get("trait", "").strip()[:KEY_LENGTH],
        request.GET.get("value", "").strip()[:LONGEST_VALUE],
        begins=request.GET.get("match") == "begins",
    )
    unknown: list[str] = []
    problem = ""
    columns = presenters.trait_columns(request.GET.get("columns", ""))
    found: BitMap | None = None  # None = everybody
    if pasted:
        found, unknown = presenters.listed_people(within, pasted)
    elif wanted:
        found = presenters.searched(within, wanted)
    if trait.name:
        try:
            holders = having(within, kind, trait)
        except SearchFailed as error:
            holders, problem = BitMap(), str(error)
        found = holders if found is None else found & holders
    rows = queries.living(within, queries.COLLECTIONS[kind])
    if wants_csv(request):
        require(request, "space.pii")  # a file is out of our hands: nothing in it could be masked later
        lines = (
            (
                person.name,
                person.email,
                ", ".join(f"{row.type}:{row.value}" for row in person.identifiers),
                person.profile.first_seen_at,
                person.changed_at,
                person.profile.public_id,
                *presenters.trait_cells(person.profile, columns),
            )
            for person in presenters.all_people(within, rows, found)
        )
        return exported(request, kind, [*CSV_HEADER, *columns], lines)
    if found is not None:
        after = row_number(request.GET.get("after", ""))
        rows = rows.filter(number__in=presenters.newest_of(found, after, presenters.LOOKED_UP))
    page, pager = listed(request, rows, order="-number")
    may = request.membership.may("space.pii", within)
    asked = {"q": wanted, "list": pasted, "columns": ", ".join(columns)}
    if trait.name:
        asked |= {"trait": trait.name, "match": "begins" if trait.begins else "", "value": trait.text}
    csv = _url(request, kind=kind, **asked, format="csv") if may else ""
    people = presenters.people(within, page)
    context = {
        "people": people,
        "rows": [(person, presenters.trait_cells(person.profile, columns)) for person in people],
        "columns": columns,
        "pasted": pasted,
        "unknown": unknown,
        "trait": trait,
        "hidden": personal.hides(trait.name),
        "problem": problem,
        "holders": len(found) if found is not None and trait.name else None,
        "is_search": found is not None,
        "asked": asked,
        "table": TablePage(page, [], pager, wanted, "", csv),
        "kinds": [(label, _url(request, kind=name, **asked), name == kind) for name, label in KINDS],
        "kind": kind,
        "most": presenters.MOST_MATCHES,
        "most_pasted": presenters.MOST_PASTED,
    }
    return render(request, "identity/profiles.html", context)


@needs("space.read", POST="space.use")
def profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """One person, a tab at a time. An id that was merged away leads to the profile it is part of now.

    A POST writes the note of the team about them.
    """
    within, canonical = request.space, profile_or_404(request, profile)
    if canonical.public_id != profile:  # links in mails and tickets outlive merges
        return redirect("profile", workspace=workspace, space=space, profile=canonical.public_id)
    numbers = queries.all_numbers(within, [canonical.number])
    note = queries.note_of(within, numbers)
    known = {"label": personal.text(note.label), "text": personal.text(note.text)} if note else {}
    form = NoteForm(request.POST or None, initial=known)
    # Whoever sees it masked would save the mask in its place.
    may_write = note is None or known == {"label": note.label, "text": note.text}
    if request.method == "POST" and not may_write:
        form.add_error(None, "The note has personal data, which you may not see: ask somebody who may.")
    if request.method == "POST" and form.is_valid():
        services.write_note(canonical, **form.cleaned_data, by=request)
        messages.success(request, "The note is saved.")
        return redirect("profile", workspace=workspace, space=space, profile=canonical.public_id)
    identifiers = list(queries.identifiers_in_order(canonical)[: queries.MANY])
    tab = request.GET.get("tab") if request.GET.get("tab") in TABS else "traits"
    person = presenters.person(canonical, identifiers)
    relations, total = presenters.relations(within, numbers)
    context = {
        "person": person,
        "note": note,
        "known": known,
        "form": form,
        "may_write": may_write or request.method == "POST",
        "relations": relations,
        "more_relations": total - len(relations),
        "tab": tab,
        "tabs": [
            {"label": label, "url": f"?tab={key}", "here": key == tab}
            for key, (label, _) in TABS.items()
            if relations or key != "related"  # an empty tab says less than none
        ],
        "template": f"identity/_{tab}.html",
        "audiences_url": reverse("profile-audiences", args=[workspace, space, profile]),
        "computed_url": reverse("profile-computed-traits", args=[workspace, space, profile]),
    }
    context |= TABS[str(tab)][1](request, person, numbers)
    if "HX-Request" in request.headers and not context.get("is_coming"):
        return HttpResponse(headers={"HX-Refresh": "true"})  # it waited for a split, which concerns the whole page
    return render(request, "identity/profile.html", context, status=422 if form.errors else 200)


@needs("space.read")
def sheet(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The essentials of one person, for the side sheet of the list."""
    canonical = profile_or_404(request, profile)
    identifiers = list(queries.identifiers_in_order(canonical)[: queries.MANY])
    traits = presenters.traits(canonical)
    context = {
        "person": presenters.person(canonical, identifiers),
        "identifiers": presenters.identifiers(identifiers)[:IN_SHEET],
        "traits": traits[:IN_SHEET],
        "more_identifiers": max(len(identifiers) - IN_SHEET, 0),
        "more_traits": max(len(traits) - IN_SHEET, 0),
        "audiences_url": reverse("profile-audiences", args=[workspace, space, canonical.public_id]),
        "computed_url": reverse("profile-computed-traits", args=[workspace, space, canonical.public_id]),
    }
    return render(request, "identity/_sheet.html", context)


def profile_or_404(request: PageRequest, public_id: str) -> Profile:
    profile = queries.profile_of(request.space, public_id)
    if profile is None:
        raise Http404
    return profile


def _url(request: HttpRequest, **query: str) -> str:
    """This page with this query, its empty values left out."""
    return f"{request.path}?{urlencode({name: value for name, value in query.items() if value})}"


# The tabs of a profile


def _traits(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    wanted = filtered_by(request)
    traits = presenters.traits(person.profile)
    shown = presenters.traits_with(wanted, traits)
    return {"traits": shown, "count": len(traits), "table": TablePage(shown, [], Pager("", "", ""), wanted, "", "")}


def _events(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    before = request.GET.get("before", "")
    chosen = presenters.event_filter(
        request.space, numbers, name=request.GET.get("event", ""), source=request.GET.get("source", "")
    )
    days = presenters.per_day(request.space, numbers, until=clock.now(), which=chosen.which)
    total = sum(count for _, count in days)
    label = f"Events per day of the last {len(days)} days: {total:,} in all"
    return {
        "history": presenters.events_by_day(request.space, numbers, before=before, which=chosen.which),
        "filter": chosen,
        "is_filtered": chosen.which != EVERY,
        "same": urlencode({name: request.GET[name] for name in ("event", "source") if request.GET.get(name)}),
        "before": before,
        "raw": request.GET.get("view") == "raw",
        "chart": bars([(f"{day:%-d %b}", count) for day, count in days], label=label) if total else None,
        "in_days": total,
    }


def _identities(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    rows, merges = presenters.identifiers(person.identifiers), presenters.merges(request.space, numbers)
    graph = picture(
        person.name,
        person.profile.public_id,
        [Fact(row.type, row.value, _note(row), row.summary, f"#identifier-{row.number}") for row in rows],
        [Fact("", row.loser, _note(row), row.summary, f"#merge-{row.loser}") for row in merges],
    )
    splits = presenters.splits(request.space, person.profile.number)
    return {
        "identifiers": rows,
        "merges": merges,
        "graph": graph,
        "splits": splits,
        "is_coming": any(row.is_coming for row in splits),
    }


def _note(row: IdentifierRow | MergeRow) -> str:
    return f"{timezone.localtime(row.at):%-d %b %Y} · {row.source}"


def _merges(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    within: Space = request.space
    return {"merges": presenters.merges(within, numbers), "refusals": presenters.refusals(within, numbers)}


def _related(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    page, pager = listed(request, queries.relations_of(request.space, numbers), order="number")
    return {"people": presenters.people(request.space, page), "pager": pager}


TABS: dict[str, tuple[str, Callable[[PageRequest, Person, BitMap], dict[str, Any]]]] = {
    "traits": ("Traits", _traits),
    "events": ("Events", _events),
    "identities": ("Identities", _identities),
    "audiences": ("Audiences", lambda *_: {}),  # the page fetches them from the app above
    "related": ("Relations", _related),
    "merges": ("Merges and refusals", _merges),
}
