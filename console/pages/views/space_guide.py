"""The guide of a space: what another space, usually the Dev space, has that this one lacks, step by step."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.pages.tables import Pill
from access.requests import PageRequest
from access.services import NotPossible, spaces_of
from audiences.models import Audience
from audiences.overview import audiences_of, overview, traits_of
from audiences.rules import grammar
from audiences.rules.validation import DefinitionError
from audiences.services import KeyRefused, create_audience, create_trait
from console.links import first_page
from console.space_diff import DIFFERENT, HERE, MISSING, UNDER_WAY, AudienceSummary, SpaceContents, compare
from destinations.models import Destination, Subscription
from identity.rules.policy import policy_of
from sources.consumption import listening
from sources.models import Connection
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
    """GET compares with the space chosen by `with`. A POST copies what has the key `copy` there to this one."""
    member, here = request.membership, request.space
    # Dev spaces first, and among these the ones with a source: what others are set up after.
    readable = spaces_of(member).exclude(pk=here.pk).order_by("kind", "name", "id")
    connections = Connection.objects.filter(space__in=readable).exclude(state=Connection.State.DISCONNECTED)
    connected = set(connections.values_list("space", flat=True))
    others = sorted(readable, key=lambda other: (other.kind != Space.Kind.DEV, other.pk not in connected))
    slug = request.POST.get("with", "") or request.GET.get("with", "")
    if slug and slug not in [other.slug for other in others]:
        raise Http404
    # Without a choice it is the first one, usually the Dev space.
    model = next((other for other in others if other.slug == slug), others[0] if others else None)
    if request.method == "POST" and model:
        _copy(request, model, key=request.POST.get("copy", ""))
        return redirect(f"{reverse('space-guide', args=[workspace, space])}?with={model.slug}")
    parts = compare(contents_of(model), contents_of(here)) if model else []
    context = {
        "others": others,
        "model": model,
        "parts": [
            {
                "part": part,
                "url": first_page(member, part.pages, here) if member.may(part.need, here) else "",
                "items": [
                    {
                        "item": item,
                        "pill": PILLS[item.state],
                        "url": first_page(member, [part.item_page], here, [item.audience]) if item.audience else "",
                        "verb": part.item_verb,
                    }
                    for item in part.items
                ],
            }
            for part in parts
        ],
        "done": sum(part.done for part in parts),
        "home": reverse("workspace", args=[workspace]),
    }
    return render(request, "console/space_guide.html", context)


def contents_of(space: Space) -> SpaceContents:
    """What the guide compares, in the same number of queries however much the space has."""
    connections = listening(space.pk).select_related("source").order_by("source__name", "pk")
    subscriptions = Subscription.objects.filter(space=space, audience__deleted_at=None)
    return SpaceContents(
        # By the id of the source, which both spaces share; everything else has a counterpart of its own.
        sources={
            connection.source.public_id: (connection.source.name, connection.state == Connection.State.LIVE)
            for connection in connections
        },
        rules=policy_of(space.identity_policy),
        # audiences_of() has loaded the versions: a summary costs no query.
        traits={trait.key: _summarize(trait) for trait in traits_of(space).order_by("pk")},
        audiences={audience.key: _summarize(audience) for audience in audiences_of(space).order_by("pk")},
        destinations=frozenset(Destination.objects.filter(space=space).values_list("kind", "name")),
        subscriptions=frozenset(
            (key, (kind, name))
            for key, kind, name in subscriptions.values_list("audience__key", "destination__kind", "destination__name")
        ),
    )


def _summarize(audience: Audience) -> AudienceSummary:
    details = overview(audience)
    definition = details.version.definition
    return AudienceSummary(
        name=audience.name,
        sentence=details.sentence,
        definition=definition,
        of=audience.of,
        include_anonymous=audience.include_anonymous,
        asks=grammar.asked_in(definition, Audience.Kind.AUDIENCE) | grammar.asked_in(definition, Audience.Kind.TRAIT),
        id=audience.public_id,
    )


def _copy(request: PageRequest, model: Space, *, key: str) -> None:
    """This space has the audience or computed trait as well, under the same key; or a message says why not."""
    audience = (audiences_of(model).filter(key=key) or traits_of(model).filter(key=key)).first()
    # Deleted while the page was open, or a key that somebody typed.
    if audience is None:
        messages.error(request, f"{model.name} has nothing with this key.")
        return
    create = create_trait if audience.kind == Audience.Kind.TRAIT else create_audience
    try:
        create(
            request.space,
            name=audience.name,
            definition=overview(audience).version.definition,
            description=audience.description,
            labels=audience.labels,
            of=audience.of,
            folder=audience.folder,
            cases=audience.cases,
            include_anonymous=audience.include_anonymous,
            key=audience.key,
            by=request,
        )
    except (DefinitionError, KeyRefused, NotPossible) as error:
        messages.error(request, f"{audience.name} was not copied. {error}")
    else:
        messages.success(request, f"{audience.name} is in {request.space.name} now, and is being computed.")
