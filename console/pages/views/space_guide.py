"""The guide of a space: what another one, mostly the Dev space, has that this one lacks, step by step."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.models import Membership
from access.pages.tables import Pill
from access.requests import PageRequest
from access.services import NotPossible, spaces_of
from audiences.models import Audience
from audiences.overview import audiences_of, overview
from audiences.rules import grammar
from audiences.rules.validation import DefinitionError
from audiences.services import KeyRefused, create_audience
from console.pages.links import nearest
from console.space_diff import DIFFERENT, HERE, MISSING, UNDER_WAY, Contents, Described, Item, Part, compare
from destinations.models import Destination, Subscription
from identity.policies import policy_of
from sources.models import Connection
from sources.queries import listening
from spaces.models import Space
from spaces.needs import needs

PILLS = {
    HERE: Pill("Here", "good"),
    UNDER_WAY: Pill("On its way", "busy"),
    DIFFERENT: Pill("Different", "warn"),
    MISSING: Pill("Missing"),
}


@needs("space.read", POST="space.use")
def guide(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """GET compares with the space chosen by `with`. A POST copies the audience `copy` of that space to this one."""
    others = _others(request.membership, request.space)
    wanted = request.POST.get("with", "") or request.GET.get("with", "")
    if wanted and wanted not in [each.slug for each in others]:
        raise Http404
    model = next((each for each in others if each.slug == wanted), others[0] if others else None)
    if request.method == "POST" and model:
        _copy(request, model, key=request.POST.get("copy", ""))
        return redirect(f"{reverse('space-guide', args=[workspace, space])}?with={model.slug}")
    parts = compare(contents_of(model), contents_of(request.space)) if model else []
    context = {
        "others": others,
        "model": model,
        "parts": [_entry(part, request.membership, request.space) for part in parts],
        "done": sum(part.done for part in parts),
        "home": reverse("workspace", args=[workspace]),
    }
    return render(request, "console/space_guide.html", context)


def contents_of(space: Space) -> Contents:
    """What is compared. As many queries for many rows as for few."""
    connections = listening(space.pk).select_related("source").order_by("source__name", "pk")
    destinations = Destination.objects.filter(space=space).values_list("kind", "name")
    ways = Subscription.objects.filter(space=space, audience__deleted_at=None)
    return Contents(
        sources={
            each.source.public_id: (each.source.name, each.state == Connection.State.LIVE) for each in connections
        },
        rules=policy_of(space.identity_policy),
        audiences={each.key: _described(each) for each in audiences_of(space).order_by("pk")},
        destinations=frozenset(destinations),
        ways=frozenset(
            (key, (kind, name))
            for key, kind, name in ways.values_list("audience__key", "destination__kind", "destination__name")
        ),
    )


def _described(audience: Audience) -> Described:
    found = overview(audience)
    asks = grammar.audiences_in(found.version.definition)
    return Described(
        audience.name, found.sentence, found.version.definition, audience.include_anonymous, asks, audience.public_id
    )


def _others(member: Membership, space: Space) -> Sequence[Space]:
    """Whatever else this person may read, Dev spaces first, and of those the first with a source."""
    spaces = spaces_of(member).exclude(pk=space.pk).order_by("kind", "name", "id")
    connected = set(
        Connection.objects.filter(space__in=spaces)
        .exclude(state=Connection.State.DISCONNECTED)
        .values_list("space", flat=True)
    )
    return sorted(spaces, key=lambda each: (each.kind != Space.Kind.DEV, each.pk not in connected))


def _copy(request: PageRequest, model: Space, *, key: str) -> None:
    """The audience is in this space too, by the same key; or why not is said."""
    found = audiences_of(model).filter(key=key).first()
    if found is None:
        messages.error(request, f"{model.name} has no audience with this key.")
        return
    try:
        create_audience(
            request.space,
            name=found.name,
            definition=overview(found).version.definition,
            description=found.description,
            include_anonymous=found.include_anonymous,
            key=found.key,
            by=request,
        )
    except (DefinitionError, KeyRefused, NotPossible) as error:
        messages.error(request, f"{found.name} was not copied. {error}")
    else:
        messages.success(request, f"{found.name} is in {request.space.name} now, and is being computed.")


def _entry(part: Part, member: Membership, space: Space) -> dict[str, Any]:
    url = nearest(member, part.pages, space) if member.may(part.need, space) else ""
    return {"part": part, "url": url, "items": [_item(part, item, member, space) for item in part.items]}


def _item(part: Part, item: Item, member: Membership, space: Space) -> dict[str, Any]:
    url = nearest(member, [part.page], space, [item.audience]) if item.audience else ""
    return {"item": item, "pill": PILLS[item.state], "url": url, "act": part.act}
