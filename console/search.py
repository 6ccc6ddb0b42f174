"""Search over a workspace: an id, a key, an e-mail address or a name leads to what it stands for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from operator import or_

from django.db.models import Q

from access.models import Membership, User
from access.services import spaces_of
from audiences.models import Audience
from console.links import first_page
from destinations.models import Destination, Subscription
from identity.models import Profile
from identity.naming import shown_name
from identity.queries import called_in, identified
from identity.rules.display_name import display_name
from sources.models import Connection, Replay, Source
from spaces import personal
from spaces.models import Space

MOST = 20  # hits of each kind


@dataclass(frozen=True)
class Hit:
    """A search result. exact: it matches by its id, key or identifier, which `hint` shows; else only by its name."""

    kind: str
    name: str
    hint: str
    url: str
    exact: bool
    space: Space | None = None


@dataclass(frozen=True)
class SearchQuery:
    """Who searches for which text, and the spaces that this member may read, by primary key."""

    member: Membership
    text: str
    spaces: Mapping[int, Space]

    @property
    def open_spaces(self) -> list[Space]:
        """Those in which this member may see personal data: letter by letter a search would tell it."""
        return [space for space in self.spaces.values() if self.member.may("space.pii", space)]

    def hit(self, kind: str, row: "Space | Source | Audience | Destination", page: str, hint: str) -> Hit:
        # A source belongs to the workspace and has no space.
        space = row if isinstance(row, Space) else self.spaces.get(getattr(row, "space_id", 0))
        url = first_page(self.member, [page], space, [row.public_id])
        return Hit(kind, row.name, hint, url, self.text in (row.public_id, hint), space)


def search(member: Membership, text: str) -> list[Hit]:
    """The hits that this member may open, exact ones first. As many queries for twenty spaces as for one."""
    query = SearchQuery(member, text, {space.pk: space for space in spaces_of(member).order_by("kind", "name", "id")})
    # Cut here as well: a finder that matches in several ways can yield more than MOST.
    hits = chain.from_iterable(islice(find(query), MOST) for find in FINDERS)
    # A hit without a URL is a page that this member may not open. Sorting is stable: FINDERS give the order.
    return sorted((hit for hit in hits if hit.url), key=lambda hit: not hit.exact)


def find_profiles(query: SearchQuery) -> Iterator[Hit]:
    """By public id, also of a profile that was merged since; by identifier, also as `type:value`; by how a name or
    an e-mail address begins."""
    # An id needs no look at names and identifiers.
    if query.text.startswith("use_"):
        for profile in Profile.objects.filter(space__in=query.spaces, public_id=query.text):
            yield _profile_hit(query, profile, query.text)
        return
    matches = identified(query.spaces.values(), query.text).order_by("space", "number")[:MOST]
    identifiers = {(row.space_id, row.profile): row for row in matches}
    by_identifier = reduce(or_, (Q(space=space, number=number) for space, number in identifiers), Q(pk__in=()))
    for profile in Profile.objects.filter(by_identifier, merged_into=None).order_by("space", "number"):
        row = identifiers[profile.space_id, profile.number]
        yield _profile_hit(query, profile, f"{row.type}: {row.value}", (row.type, row.value))
    # Names are tried last: many people can have the same one.
    by_name = [
        profile
        for profile in called_in(query.open_spaces, query.text, MOST)
        if (profile.space_id, profile.number) not in identifiers
    ]
    for profile in sorted(by_name, key=lambda profile: (display_name(profile.traits, ()).lower(), profile.pk)):
        yield _profile_hit(query, profile, str(profile.traits.get("email") or ""), exact=False)


def find_audiences(query: SearchQuery) -> Iterator[Hit]:
    """Audiences and computed traits by public id, key, or a part of the name."""
    matches = Q(public_id=query.text) | Q(key=query.text) | Q(name__icontains=query.text)
    rows = Audience.everything.filter(matches, space__in=query.spaces, deleted_at=None)
    pages = {Audience.Kind.AUDIENCE: "audience", Audience.Kind.TRAIT: "computed-trait"}
    for row in rows.order_by("name", "pk")[:MOST]:
        kind = Audience.Kind(row.kind)
        yield query.hit(str(kind.label), row, pages[kind], row.key)


def find_sources(query: SearchQuery) -> Iterator[Hit]:
    """By public id, slug, write key, or a part of the name; for members who may see sources."""
    if not query.member.may("sources.read"):
        return
    matches = Q(public_id=query.text) | Q(slug=query.text) | Q(name__icontains=query.text)
    with_key = Source.objects.filter(write_keys__key=query.text).values("pk")
    sources = Source.objects.filter(matches | Q(pk__in=with_key), workspace=query.member.workspace_id)
    # A source that is found by its write key shows the key, which is what was typed.
    by_key = set(sources.filter(pk__in=with_key).values_list("pk", flat=True))
    for source in sources.order_by("name", "pk")[:MOST]:
        yield query.hit("Source", source, "source", query.text if source.pk in by_key else source.slug)


def find_destinations(query: SearchQuery) -> Iterator[Hit]:
    """By public id, or a part of the name."""
    matches = Q(public_id=query.text) | Q(name__icontains=query.text)
    destinations = Destination.objects.filter(matches, space__in=query.spaces)
    for destination in destinations.order_by("name", "pk")[:MOST]:
        yield query.hit("Destination", destination, "destination", destination.public_id)


def find_spaces(query: SearchQuery) -> Iterator[Hit]:
    """By public id, slug, or a part of the name."""
    for space in query.spaces.values():
        if query.text in (space.public_id, space.slug) or query.text.lower() in space.name.lower():
            yield query.hit("Space", space, "space", space.slug)


def find_teammates(query: SearchQuery) -> Iterator[Hit]:
    """By public id, e-mail address, or a part of the name; for members who manage people."""
    if not query.member.may("workspace.manage"):
        return  # others do not see who else is in the workspace
    matches = Q(public_id=query.text) | Q(email=query.text.lower()) | Q(name__icontains=query.text)
    members = Membership.objects.filter(workspace=query.member.workspace_id)
    for user in User.objects.filter(matches, pk__in=members.values("user")).order_by("name", "pk")[:MOST]:
        exact = query.text == user.public_id or query.text.lower() == user.email
        url = first_page(query.member, ["access-person"], ids=[user.public_id])
        yield Hit("Teammate", str(user), user.email, url, exact)


def find_api_ids(query: SearchQuery) -> Iterator[Hit]:
    """By an id that only the API shows: a subscription, a connection or a replay. Leads to the page that shows it."""
    filters = {"space__in": query.spaces, "public_id": query.text}

    def hit(kind: str, name: str, space_id: int, page: str, *ids: str) -> Hit:
        space = query.spaces[space_id]
        return Hit(kind, name, query.text, first_page(query.member, [page], space, ids), True, space)

    for subscription in Subscription.objects.filter(**filters).select_related("audience", "destination"):
        name = f"{subscription.audience.name} → {subscription.destination.name}"
        ids = [subscription.audience.public_id, subscription.public_id]
        yield hit("Subscription", name, subscription.space_id, "subscription", *ids)
    for connection in Connection.objects.filter(**filters).select_related("source"):
        yield hit("Connection", connection.source.name, connection.space_id, "space-sources")
    for replay in Replay.objects.filter(**filters):
        yield hit("Replay", replay.get_state_display(), replay.space_id, "space-sources")


# In the order of the page.
FINDERS: tuple[Callable[[SearchQuery], Iterator[Hit]], ...] = (
    find_profiles,
    find_audiences,
    find_sources,
    find_destinations,
    find_spaces,
    find_teammates,
    find_api_ids,
)


def _profile_hit(
    query: SearchQuery, profile: Profile, hint: str, *identifiers: tuple[str, str], exact: bool = True
) -> Hit:
    space = query.spaces[profile.space_id]
    kind = "Account" if profile.kind == Profile.Kind.ACCOUNT else "Profile"
    with personal.masking(not query.member.may("space.pii", space)):
        name = shown_name(profile.traits, identifiers) or "Somebody without a name"
    return Hit(kind, name, hint, first_page(query.member, ["profile"], space, [profile.public_id]), exact, space)
