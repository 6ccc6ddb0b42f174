"""Search over a workspace: what is pasted, an id, a key or an e-mail address, leads to the thing it stands for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from operator import or_

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render

from access.models import Membership, User
from access.requests import PageRequest
from access.services import spaces_of
from audiences.models import Audience
from console.pages.links import nearest
from destinations.models import Destination, Subscription
from identity.models import Identifier, Profile
from identity.policies import policy_of
from identity.queries import called_in
from identity.rules.decision import DEFAULT_TYPES
from identity.rules.display_name import display_name
from sources.models import Connection, Replay, Source
from spaces.models import Space
from spaces.needs import needs

MOST = 20  # hits of each kind
LONGEST = 500  # characters of an identifier


@dataclass(frozen=True)
class Hit:
    """Something that was found. exact: by its id, key or identifier, the hint; else by its name."""

    kind: str
    name: str
    hint: str
    url: str
    exact: bool
    space: Space | None = None


@dataclass(frozen=True)
class Asked:
    """Who looks for what, and in which spaces: only those that this person may read."""

    member: Membership
    text: str
    spaces: Mapping[int, Space]

    def hit(self, kind: str, row: "Space | Source | Audience | Destination", pages: Iterable[str], hint: str) -> Hit:
        space = row if isinstance(row, Space) else self.spaces.get(getattr(row, "space_id", 0))
        address = nearest(self.member, pages, space, [row.public_id])
        return Hit(kind, row.name, hint, address, self.text in (row.public_id, hint), space)


@needs("workspace.read")
def search(request: PageRequest, workspace: str) -> HttpResponse:
    """Straight to the only thing that is meant, or everything that may be."""
    text = request.GET.get("q", "").strip()[:LONGEST]
    hits = find(request.membership, text) if text else []
    if only := _only(hits):
        return redirect(only.url)
    return render(request, "console/search.html", {"wanted": text, "hits": hits})


def find(member: Membership, text: str) -> list[Hit]:
    """What this person may open, exact hits first. As many queries for twenty spaces as for one."""
    asked = Asked(member, text, {space.pk: space for space in spaces_of(member).order_by("kind", "name", "id")})
    found = chain.from_iterable(islice(finder(asked), MOST) for finder in FINDERS)
    return sorted((hit for hit in found if hit.url), key=lambda hit: not hit.exact)


def _only(hits: list[Hit]) -> Hit | None:
    """The one that is meant: the only exact one, or the only one at all."""
    meant = [hit for hit in hits if hit.exact] or hits
    return meant[0] if len(meant) == 1 else None


def _spaces(asked: Asked) -> Iterator[Hit]:
    for space in asked.spaces.values():
        if asked.text in (space.public_id, space.slug) or asked.text.lower() in space.name.lower():
            yield asked.hit("Space", space, ["space"], space.slug)


def _people(asked: Asked) -> Iterator[Hit]:
    """By the id of a profile, also of one that was merged since; by an identifier, also as `type:value`; or by how
    a name or an e-mail address begins."""
    if asked.text.startswith("use_"):
        for profile in Profile.objects.filter(space__in=asked.spaces, public_id=asked.text):
            yield _person(asked, profile, asked.text)
        return
    held = {(row.space_id, row.profile): row for row in _identifiers(asked)}
    which = reduce(or_, (Q(space=space, number=number) for space, number in held), Q(pk__in=()))
    for profile in Profile.objects.filter(which, merged_into=None).order_by("space", "number"):
        row = held[profile.space_id, profile.number]
        yield _person(asked, profile, f"{row.type}: {row.value}", (row.type, row.value))
    called = [
        row for row in called_in(asked.spaces.values(), asked.text, MOST) if (row.space_id, row.number) not in held
    ]
    for profile in sorted(called, key=lambda row: (display_name(row.traits, ()).lower(), row.pk)):
        yield _person(asked, profile, str(profile.traits.get("email") or ""), exact=False)


def _person(asked: Asked, profile: Profile, hint: str, *identifiers: tuple[str, str], exact: bool = True) -> Hit:
    space = asked.spaces[profile.space_id]
    kind = "Account" if profile.kind == Profile.Kind.ACCOUNT else "Profile"
    name = display_name(profile.traits, identifiers) or "Somebody without a name"
    return Hit(kind, name, hint, nearest(asked.member, ["profile"], space, [profile.public_id]), exact, space)


def _identifiers(asked: Asked) -> Iterable[Identifier]:
    """By type and value, since that is the index."""
    ranks = (policy_of(space.identity_policy).rank for space in asked.spaces.values())
    types = {*DEFAULT_TYPES, *chain.from_iterable(ranks)}
    wanted = Q(type__in=types, value__in={asked.text, asked.text.lower()})
    type, _, value = (part.strip() for part in asked.text.partition(":"))
    if value:
        wanted |= Q(type=type, value__in={value, value.lower()})
    return Identifier.objects.filter(wanted, space__in=asked.spaces).order_by("space", "number")[:MOST]


def _audiences(asked: Asked) -> Iterator[Hit]:
    named = Q(public_id=asked.text) | Q(key=asked.text) | Q(name__icontains=asked.text)
    for row in Audience.objects.filter(named, space__in=asked.spaces, deleted_at=None).order_by("name", "pk")[:MOST]:
        yield asked.hit("Audience", row, ["audience"], row.key)


def _sources(asked: Asked) -> Iterator[Hit]:
    if not asked.member.may("sources.read"):
        return
    named = Q(public_id=asked.text) | Q(slug=asked.text) | Q(name__icontains=asked.text)
    keyed = Source.objects.filter(write_keys__key=asked.text).values("pk")
    rows = Source.objects.filter(named | Q(pk__in=keyed), workspace=asked.member.workspace_id)
    by_key = set(rows.filter(pk__in=keyed).values_list("pk", flat=True))
    for row in rows.order_by("name", "pk")[:MOST]:
        yield asked.hit("Source", row, ["source"], asked.text if row.pk in by_key else row.slug)


def _destinations(asked: Asked) -> Iterator[Hit]:
    named = Q(public_id=asked.text) | Q(name__icontains=asked.text)
    for row in Destination.objects.filter(named, space__in=asked.spaces).order_by("name", "pk")[:MOST]:
        yield asked.hit("Destination", row, ["destination"], row.public_id)


def _teammates(asked: Asked) -> Iterator[Hit]:
    """Found only by who manages people: others do not see who else there is."""
    if not asked.member.may("workspace.manage"):
        return
    named = Q(public_id=asked.text) | Q(email=asked.text.lower()) | Q(name__icontains=asked.text)
    members = Membership.objects.filter(workspace=asked.member.workspace_id)
    for user in User.objects.filter(named, pk__in=members.values("user")).order_by("name", "pk")[:MOST]:
        exact = asked.text == user.public_id or asked.text.lower() == user.email
        url = nearest(asked.member, ["access-person"], ids=[user.public_id])
        yield Hit("Teammate", str(user), user.email, url, exact)


def _ways(asked: Asked) -> Iterator[Hit]:
    """What only the API names: a subscription, a connection, a replay. Each leads to the page that shows it."""
    of_space = {"space__in": asked.spaces, "public_id": asked.text}
    for subscription in Subscription.objects.filter(**of_space).select_related("audience", "destination"):
        name = f"{subscription.audience.name} → {subscription.destination.name}"
        ids = [subscription.audience.public_id, subscription.public_id]
        yield _way(asked, "Subscription", name, subscription.space_id, "subscription", *ids)
    for connection in Connection.objects.filter(**of_space).select_related("source"):
        yield _way(asked, "Connection", connection.source.name, connection.space_id, "space-sources")
    for replay in Replay.objects.filter(**of_space):
        yield _way(asked, "Replay", replay.get_state_display(), replay.space_id, "space-sources")


def _way(asked: Asked, kind: str, name: str, space_id: int, page: str, *ids: str) -> Hit:
    space = asked.spaces[space_id]
    return Hit(kind, name, asked.text, nearest(asked.member, [page], space, ids), True, space)


FINDERS: tuple[Callable[[Asked], Iterator[Hit]], ...] = (
    _people,
    _audiences,
    _sources,
    _destinations,
    _spaces,
    _teammates,
    _ways,
)
