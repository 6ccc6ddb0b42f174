"""What surrounds every page: where you are, where you can go, light or dark."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property

from access.models import Membership
from access.pages.views.account import THEMES
from access.roles import PERMISSIONS
from access.services import spaces_of
from sources.queries import is_replaying
from spaces.disk_space import Room, room
from spaces.models import Space


@dataclass(frozen=True)
class Place:
    """An entry of the navigation. `also`: other pages on which it counts as the place where you are."""

    name: str
    label: str
    icon: str
    need: str
    also: tuple[str, ...] = ()


SOURCE_PAGES = (
    "source-new", "source", "source-setup", "source-debugger", "source-settings", "source-delete", "source-key-remove",
)  # fmt: skip
CONNECTING = ("space-connect", "space-disconnect", "space-replay", "space-replay-cancel")
IN_WORKSPACE = (
    Place("workspace", "Home", "home", "workspace.read"),
    Place("spaces", "Spaces", "spaces", "workspace.read", ("space-new", "deletions")),
    Place("sources", "Sources", "sources", "sources.read", SOURCE_PAGES),
    Place("access", "Access", "people", "workspace.read", ("access-invite", "access-person")),
    Place("tokens", "API tokens", "key", "workspace.read"),
)
AUDIENCE = (
    "audience", "audience-settings", "audience-connect", "subscription",
    "audience-new", "audience-draft", "audience-builder", "draft-destinations", "draft-review",
)  # fmt: skip
DESTINATION = ("destination", "destination-catalog", "destination-create", "caught")
IN_SPACE = (
    Place("space", "Overview", "overview", "space.read", ("space-guide",)),
    Place("profiles", "Profiles", "profiles", "space.read", ("profile",)),
    Place("audiences", "Audiences", "audiences", "space.read", AUDIENCE),
    Place("destinations", "Destinations", "destinations", "space.read", DESTINATION),
    Place("deliveries", "Deliveries", "deliveries", "space.read"),
)
IN_SETTINGS = (
    Place("space-sources", "Sources", "sources", "space.read", CONNECTING),
    Place("identity-settings", "Identity", "profiles", "space.read"),
    Place("space-settings", "General", "settings", "space.read", ("space-delete",)),
)
SETTINGS = Place(
    "space-sources",
    "Settings",
    "settings",
    "space.read",
    tuple(name for each in IN_SETTINGS for name in (each.name, *each.also)),
)


class Frame:
    """Read by the base templates; asks the database only for what a template shows."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.membership: Membership | None = getattr(request, "membership", None)
        self.space: Space | None = getattr(request, "space", None)
        theme = request.COOKIES.get("theme", "")
        self.theme = theme if theme in THEMES else ""

    @property
    def workspace(self) -> Any:
        return self.membership.workspace if self.membership else None

    @cached_property
    def spaces(self) -> list[dict[str, Any]]:
        """The spaces one can switch to."""
        if self.membership is None:
            return []
        slug = self.membership.workspace.slug
        return [
            {"space": space, "url": reverse("space", args=[slug, space.slug]), "here": space == self.space}
            for space in spaces_of(self.membership).order_by("kind", "name", "id")
        ]

    @property
    def places(self) -> list[dict[str, Any]]:
        """The navigation of the space, or of the workspace: only what this person may open."""
        return self._entries((*IN_SPACE, SETTINGS) if self.space else IN_WORKSPACE)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The pages of the space's settings."""
        return self._entries(IN_SETTINGS)

    @cached_property
    def replaying(self) -> bool:
        """Whether the past is still coming into this space: what is computed from it is not complete yet."""
        return bool(self.space and is_replaying(self.space))

    @property
    def full_disk(self) -> Room | None:
        """The room there is, when it is too little to take in what comes."""
        now = room()
        return None if now.accepts else now

    def may(self, need: str) -> bool:
        """Whether this person may do that here."""
        return bool(self.membership and self.membership.may(need, self.space))

    @cached_property
    def can(self) -> dict[str, bool]:
        """For templates, which show no control that would be refused: `frame.can.space_use`."""
        return {need.replace(".", "_"): self.may(need) for need in PERMISSIONS}

    def _entries(self, places: Iterable[Place]) -> list[dict[str, Any]]:
        if self.membership is None:
            return []
        args = [self.membership.workspace.slug, *([self.space.slug] if self.space else [])]
        return [self._entry(place, args) for place in places if self.may(place.need)]

    def _entry(self, place: Place, args: list[str]) -> dict[str, Any]:
        match = self.request.resolver_match
        here = bool(match and match.url_name in (place.name, *place.also))
        return {"label": place.label, "icon": place.icon, "url": reverse(place.name, args=args), "here": here}


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor."""
    return {"frame": Frame(request)}
