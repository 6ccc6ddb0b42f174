"""Pages about people: the list, and one profile."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from pyroaring import BitMap

from access.pages.charts import bars
from access.pages.tables import Pager, TablePage, csv_of, filtered_by, listed, wants_csv
from access.requests import PageRequest
from identity import queries
from identity.models import Profile
from identity.pages import presenters as read
from identity.pages.graph_svg import Fact, Picture, picture
from identity.pages.presenters import Held, Joined, Person
from spaces.clock import clock
from spaces.models import Space
from spaces.needs import needs

KINDS = (("users", "People"), ("accounts", "Accounts"))
CSV_HEADER = ("Name", "E-mail", "Identifiers", "First seen", "Last changed", "Profile id")
IN_SHEET = 8  # traits and identifiers that the side sheet shows


@needs("space.read")
def profiles(request: PageRequest, workspace: str, space: str) -> HttpResponseBase:
    """People, or accounts, newest first; or those whom a search finds. All of them as CSV."""
    within = request.space
    wanted = filtered_by(request)
    kind = request.GET.get("kind", "users") if request.GET.get("kind") in queries.COLLECTIONS else "users"
    rows = (
        read.search(within, wanted).filter(kind=queries.COLLECTIONS[kind])
        if wanted
        else queries.living(within, queries.COLLECTIONS[kind])
    )
    if wants_csv(request):
        return csv_of(kind, CSV_HEADER, (_line(person) for person in read.every(within, rows)))
    found, pager = listed(request, rows, order="-number")
    context = {
        "people": read.people(within, found),
        "table": TablePage(found, [], pager, wanted, "", _with(request, kind=kind, q=wanted, format="csv")),
        "kinds": [(label, _with(request, kind=name, q=wanted), name == kind) for name, label in KINDS],
        "kind": kind,
        "most": read.MOST_FOUND,
    }
    return render(request, "identity/profiles.html", context)


@needs("space.read")
def profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """One person, a tab at a time. An id that was merged away leads to the profile it is part of now."""
    within, found = request.space, _found(request, profile)
    if found.public_id != profile:
        return redirect("profile", workspace=workspace, space=space, profile=found.public_id)
    numbers = queries.all_numbers(within, [found.number])
    held = list(queries.held_by(found)[: queries.MANY])
    tab = request.GET.get("tab") if request.GET.get("tab") in TABS else "traits"
    person = read.person(found, held)
    relations, total = read.relations(within, numbers)
    context = {
        "person": person,
        "relations": relations,
        "more_relations": total - len(relations),
        "tab": tab,
        "tabs": [
            {"label": label, "url": f"?tab={key}", "here": key == tab}
            for key, (label, _) in TABS.items()
            if relations or key != "related"
        ],
        "template": f"identity/_{tab}.html",
        "audiences_url": reverse("profile-audiences", args=[workspace, space, profile]),
    }
    return render(request, "identity/profile.html", context | TABS[str(tab)][1](request, person, numbers))


@needs("space.read")
def sheet(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The essentials of one person, for the side sheet of the list."""
    found = _found(request, profile)
    held = list(queries.held_by(found)[: queries.MANY])
    traits = read.traits(found)
    context = {
        "person": read.person(found, held),
        "identifiers": read.identifiers(held)[:IN_SHEET],
        "traits": traits[:IN_SHEET],
        "more_identifiers": max(len(held) - IN_SHEET, 0),
        "more_traits": max(len(traits) - IN_SHEET, 0),
        "audiences_url": reverse("profile-audiences", args=[workspace, space, found.public_id]),
    }
    return render(request, "identity/_sheet.html", context)


def _found(request: PageRequest, profile: str) -> Profile:
    found = queries.profile_of(request.space, profile)
    if found is None:
        raise Http404
    return found


def _line(person: Person) -> tuple[Any, ...]:
    held = ", ".join(f"{row.type}:{row.value}" for row in person.identifiers)
    profile = person.profile
    return person.name, person.email, held, profile.first_seen_at, person.changed_at, profile.public_id


def _with(request: HttpRequest, **places: str) -> str:
    """This page with these places in its address."""
    query = request.GET.copy()
    query.clear()
    query.update({name: value for name, value in places.items() if value})
    return f"{request.path}?{query.urlencode()}"


# The tabs of a profile


def _traits(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    wanted = filtered_by(request)
    every = read.traits(person.profile)
    shown = read.traits_with(wanted, every)
    return {"traits": shown, "count": len(every), "table": TablePage(shown, [], Pager("", "", ""), wanted, "", "")}


def _events(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    before = request.GET.get("before", "")
    days = read.per_day(request.space, numbers, until=clock.now())
    return {
        "history": read.history(request.space, numbers, before=before),
        "before": before,
        "raw": request.GET.get("view") == "raw",
        "chart": _chart(days) if any(count for _, count in days) else None,
        "in_days": sum(count for _, count in days),
    }


def _identities(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    rows, merges = read.identifiers(person.identifiers), read.merges(request.space, numbers)
    return {"identifiers": rows, "merges": merges, "graph": _graph(person, rows, merges)}


def _audiences(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    return {}  # the page fetches them from the app above


def _merges(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    within: Space = request.space
    return {"merges": read.merges(within, numbers), "refusals": read.refusals(within, numbers)}


def _related(request: PageRequest, person: Person, numbers: BitMap) -> dict[str, Any]:
    found, pager = listed(request, queries.relations_of(request.space, numbers), order="number")
    return {"people": read.people(request.space, found), "pager": pager}


TABS: dict[str, tuple[str, Callable[[PageRequest, Person, BitMap], dict[str, Any]]]] = {
    "traits": ("Traits", _traits),
    "events": ("Events", _events),
    "identities": ("Identities", _identities),
    "audiences": ("Audiences", _audiences),
    "related": ("Belongs with", _related),
    "merges": ("Merges and refusals", _merges),
}


def _chart(days: list[tuple[date, int]]) -> Any:
    total = sum(count for _, count in days)
    label = f"Events per day of the last {len(days)} days: {total:,} in all"
    return bars([(f"{day:%-d %b}", count) for day, count in days], label=label)


def _graph(person: Person, rows: list[Held], merges: list[Joined]) -> Picture:
    return picture(person.name, person.profile.public_id, list(_identifier_facts(rows)), list(_merge_facts(merges)))


def _identifier_facts(rows: list[Held]) -> Iterator[Fact]:
    for row in rows:
        note = f"{row.at:%-d %b %Y} · {row.source}"
        yield Fact(row.type, row.value, note, row.said, f"#identifier-{row.number}")


def _merge_facts(rows: list[Joined]) -> Iterator[Fact]:
    for row in rows:
        yield Fact("", row.loser, f"{row.at:%-d %b %Y} · {row.source}", row.said, f"#merge-{row.loser}")
