"""Pages about spaces: the list, a new one, and of one its overview, its guide, its settings and its end.

The guide says what another space, usually the Dev space, has that this one lacks, step by step.
"""

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from access import services
from access.pages.tables import Column, Pill, arranged, exported, tabled, wants_csv
from access.requests import PageRequest
from access.services import NotPossible, spaces_of
from audiences import overview as audiences
from audiences.models import Audience
from audiences.overview import audiences_of, overview, traits_of
from audiences.rules import grammar
from audiences.rules.validation import DefinitionError
from audiences.services import KeyRefused, copy_to
from console.links import first_page
from console.pages.forms import NewSpace, SpaceName
from console.space_diff import DIFFERENT, HERE, MISSING, UNDER_WAY, AudienceSummary, SpaceContents, compare
from console.space_stats import space_facts
from console.stages import (
    archive_status,
    evaluate_status,
    failure_status,
    resolve_status,
    silence_status,
    sync_status,
)
from destinations.models import Destination, Subscription
from identity.models import Profile
from identity.queries import living
from identity.rules.policy import policy_of
from identity.services import create_space_with_rules
from sources import queries as sources
from sources.consumption import listening
from sources.models import Connection
from spaces import pulse
from spaces.clock import clock
from spaces.models import Space
from spaces.needs import needs

COLUMNS = (
    Column("name", "Space", "name"),
    Column("kind", "Kind", "kind"),
    Column("rules", "Identity rules"),
    Column("sources", "Sources", num=True),
    Column("profiles", "Profiles", num=True),
    Column("audiences", "Audiences", num=True),
    Column("created", "Created", "created_at"),
)
# Of the CSV. Identity rules are left out: they do not fit into a cell.
HEADER = ("Space", "Kind", "Sources", "Profiles", "Audiences", "Created")
WRONG_NAME = "The name you typed is not the name of this space. Nothing was deleted."


@needs("workspace.read")
def spaces(request: PageRequest, workspace: str) -> HttpResponseBase:
    """The spaces that this member can see, each with what is in it; as a page or as CSV."""
    visible = services.spaces_of(request.membership)
    if wants_csv(request):
        spaces = list(arranged(request, visible, columns=COLUMNS, sort="name", search=("name",)))
        facts = space_facts(spaces)
        lines = (
            [
                space.name,
                space.get_kind_display(),
                facts[space.pk].sources,
                facts[space.pk].people,
                facts[space.pk].audiences,
                space.created_at,
            ]
            for space in spaces
        )
        return exported(request, "spaces", HEADER, lines)
    table = tabled(request, visible, columns=COLUMNS, sort="name", search=("name",))
    facts = space_facts(table.rows)
    context = {"table": table, "rows": [{"space": space, "facts": facts[space.pk]} for space in table.rows]}
    return render(request, "console/spaces.html", context)


@needs("workspace.manage")
def space_new(request: PageRequest, workspace: str) -> HttpResponse:
    """A form with name, kind and identity rules; a POST creates the space and leads to it."""
    others = list(services.spaces_of(request.membership).order_by("kind", "name", "id"))
    # What comes after a first Dev space is the same for real.
    kind = Space.Kind.PROD if {space.kind for space in others} == {Space.Kind.DEV} else Space.Kind.DEV
    form = NewSpace(request.POST or None, spaces=others, initial={"kind": kind})
    if request.method == "POST" and form.is_valid():
        name, kind = form.cleaned_data["name"], form.cleaned_data["kind"]
        space = create_space_with_rules(request.workspace, name=name, kind=kind, policy=form.policy, by=request)
        messages.success(request, f"The space “{space.name}” was created. Connect a source to fill it.")
        # Straight to the form: the rules should be set before the first source is connected.
        if form.wants_own_rules:
            return redirect(f"{reverse('identity-settings', args=[workspace, space.slug])}?edit=1")
        return redirect("space", workspace, space.slug)
    return render(request, "console/space_new.html", {"form": form}, status=422 if request.method == "POST" else 200)


@needs("space.read", POST="space.admin")
def space_settings(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The name and kind of the space. Its slug never changes, so links to it go on working."""
    form = SpaceName(request.POST or None, initial={"name": request.space.name, "kind": request.space.kind})
    if request.method == "POST" and form.is_valid():
        services.change_space(request.space, by=request, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("space-settings", workspace, space)
    return render(
        request, "console/space_settings.html", {"form": form}, status=422 if request.method == "POST" else 200
    )


@needs("workspace.manage")
def space_delete(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What is deleted with the space. A POST with the name of the space deletes it."""
    here, error = request.space, ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() == here.name:
            services.delete_space(here, by=request)
            messages.success(request, f"The space “{here.name}” was deleted.")
            return redirect("spaces", workspace)
        # The button is disabled until the name is right, but only where scripts run.
        error = WRONG_NAME
    facts = space_facts([here])[here.pk]
    context = {"facts": facts, "destinations": here.destinations.count(), "error": error}
    return render(request, "console/space_delete.html", context, status=422 if error else 200)


# In the order of the pipeline: (name of the log, label, what it does, page that says more, how far it is).
STAGES = (
    ("archive", "Receive", "Sources send events", "space-sources", archive_status),
    ("resolve", "Resolve", "Events become profiles", "profiles", resolve_status),
    ("evaluate", "Evaluate", "Profiles form audiences", "audiences", evaluate_status),
    ("sync", "Deliver", "Audiences reach your tools", "deliveries", sync_status),
)


@needs("space.read")
def space(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What is in the space, and whether events flow through it."""
    here, slugs = request.space, [workspace, space]
    profiles = reverse("profiles", args=slugs)
    connected = listening(here.pk).count()
    tiles = [
        ("People", living(here, Profile.Kind.USER).count(), profiles),
        ("Accounts", living(here, Profile.Kind.ACCOUNT).count(), f"{profiles}?kind=accounts"),
        ("Sources", connected, reverse("space-sources", args=slugs)),
        ("Audiences", audiences.audiences_of(here).count(), reverse("audiences", args=slugs)),
        ("Destinations", here.destinations.count(), reverse("destinations", args=slugs)),
    ]
    owners = {
        "archive": sources.heard_by(here),
        "resolve": [here.pk],
        "evaluate": [here.pk],
        "sync": list(here.subscriptions.values_list("pk", flat=True)),
    }
    show_error = request.membership.may("space.admin", here)
    stages, silent = [], pulse.silent()
    for stage, label, about, page, status_of in STAGES:
        # A failure comes first: whatever else is known of the stage, it does not move.
        failure = silence_status(stage, silent) or failure_status(stage, owners[stage], show_error=show_error)
        status = failure or status_of(here)
        stages.append({"label": label, "about": about, "url": reverse(page, args=slugs), "status": status})
    context = {
        "tiles": [{"label": label, "count": count, "url": url} for label, count, url in tiles],
        "stages": stages,
        "connected": connected,
        "put_back": audiences.put_back(here, clock.now()),
        "as_of": clock.now(),
    }
    return render(request, "console/space_overview.html", context)


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
    try:
        copy_to(request.space, audience, by=request)
    except (DefinitionError, KeyRefused, NotPossible) as error:
        messages.error(request, f"{audience.name} was not copied. {error}")
    else:
        messages.success(request, f"{audience.name} is in {request.space.name} now, and is being computed.")
