"""Splitting a profile: which identifiers are somebody else's, whose, what that comes to, and undoing it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from access.requests import PageRequest
from access.services import NotPossible
from identity import queries, services
from identity.models import Profile, ProfileSplit
from identity.pages import presenters
from identity.pages.views.profiles import profile_or_404
from identity.split_effects import EffectsReader
from spaces.clock import clock
from spaces.models import Space
from spaces.needs import needs


@needs("space.admin")
def split(request: PageRequest, workspace: str, space: str, profile: str, effects: EffectsReader) -> HttpResponse:
    """The identifiers to tick; with `?take=` their numbers, and what the split would come to.

    `?to=` an id or an identifier of whom they are moved to. `?merge=` an id ticks what came with that profile when it
    was merged into this one. A POST splits, or undoes one. effects: handed over by the address.
    """
    within, of = request.space, profile_or_404(request, profile)
    if "undo" in request.POST:
        return _undo(request, of)
    identifiers = list(queries.identifiers_in_order(of)[: queries.MANY])
    asked = request.POST if request.method == "POST" else request.GET
    ticked, wanted = set(asked.getlist("take")), asked.get("to", "").strip()
    # By number, so that a form works for whoever sees values masked.
    taken = [(row.type, row.value) for row in identifiers if str(row.number) in ticked]
    error, again, to = "", None, None
    if merge := request.GET.get("merge"):
        merged = get_object_or_404(Profile, space=within, merged_into=of.number, public_id=merge)
        try:
            taken = services.came_with(of, merged)
        except NotPossible as problem:
            error = str(problem)
    try:
        if wanted:
            to = _person(within, wanted)
        if request.method == "POST":
            services.split(of, taken, to=to, by=request)
            done = "The identifiers are being moved." if to else "The profile is being split."
            messages.success(request, f"{done} Audiences and destinations follow within seconds.")
            return redirect(_identities(request, of))
        if taken or "preview" in request.GET:
            again = services.resolve_with(of, taken, to)
    except NotPossible as problem:
        error = str(problem)
    parts = again.parts if again else []
    known = effects(again, clock.now()) if again else ()
    context = {
        "person": presenters.person(of, identifiers),
        "rows": [(row, (row.type, row.value) in taken) for row in presenters.identifiers(identifiers)],
        "parts": presenters.split_parts(within, parts),
        "effects": None if known is None else presenters.split_effects(within, parts, known),
        "taken": [row.number for row in identifiers if (row.type, row.value) in taken],
        "error": error,
        "wanted": wanted,
        "to": presenters.people(within, [to])[0] if to else None,
        "back": _identities(request, of),
    }
    return render(request, "identity/split.html", context, status=422 if request.method == "POST" else 200)


def _person(space: Space, text: str) -> Profile:
    """Whom an id, or an identifier, is of. Raises NotPossible."""
    numbers, _ = presenters.listed_people(space, text)
    people = Profile.objects.filter(space=space, merged_into=None, number__in=[*numbers])
    if len(people) != 1:
        raise NotPossible("That is nobody's." if not people else "Several people have that: give an id.")
    return people[0]


def _undo(request: PageRequest, of: Profile) -> HttpResponse:
    """Both sides may be one person again."""
    wish = get_object_or_404(ProfileSplit, space=request.space, public_id=request.POST["undo"])
    try:
        services.undo_split(wish, by=request)
        messages.success(
            request, "They are being put together again. Audiences and destinations follow within seconds."
        )
    except NotPossible as problem:
        messages.error(request, str(problem))
    return redirect(_identities(request, of))


def _identities(request: PageRequest, of: Profile) -> str:
    return reverse("profile", args=[request.workspace.slug, request.space.slug, of.public_id]) + "?tab=identities"
