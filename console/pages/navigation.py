"""What surrounds every page: the navigation, the space switcher, warnings, and the colour theme."""

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
from spaces import pulse
from spaces.disk_space import Room, room
from spaces.models import Space


@dataclass(frozen=True)
class NavigationItem:
    """An entry of the navigation. name: a URL name. also: other pages on which it is marked as the current one."""

    name: str
    label: str
    icon: str
    need: str
    also: tuple[str, ...] = ()


# Pages without an entry of their own, by the entry that is marked while they are shown.
SOURCE_PAGES = (
    "source-new", "source", "source-setup", "source-debugger", "source-settings", "source-delete", "source-key-remove",
)  # fmt: skip
CONNECTION_PAGES = ("space-connect", "space-disconnect", "space-replay", "space-replay-cancel")
IN_WORKSPACE = (
    NavigationItem("workspace", "Home", "home", "workspace.read"),
    NavigationItem("spaces", "Spaces", "spaces", "workspace.read", ("space-new", "deletions")),
    NavigationItem("sources", "Sources", "sources", "sources.read", SOURCE_PAGES),
    NavigationItem("access", "Access", "people", "workspace.read", ("access-invite", "access-person")),
    NavigationItem("tokens", "API tokens", "key", "workspace.read"),
    NavigationItem("audit", "Audit trail", "event", "workspace.manage"),
    NavigationItem("privacy", "Privacy", "profiles", "workspace.manage", ("regulation-new", "regulation")),
)
AUDIENCE_PAGES = (
    "audience", "audience-settings", "audience-connect", "subscription",
    "audience-history", "audience-versions", "audience-download",
    "audience-cases", "audience-case-new", "audience-case",
    "audience-new", "audience-draft", "audience-builder", "draft-destinations", "draft-review",
)  # fmt: skip
TRAIT_PAGES = (
    "computed-trait-new", "computed-trait", "computed-trait-edit", "computed-trait-settings", "computed-trait-versions",
    "computed-trait-cases", "computed-trait-case-new", "computed-trait-case",
)  # fmt: skip
SQL_PAGES = (
    "sql-trait-new", "sql-trait", "sql-trait-edit", "warehouses", "warehouse-new", "warehouse",
)  # fmt: skip
DESTINATION_PAGES = (
    "destination", "destination-catalog", "destination-create", "caught", "subscription-sending", "subscription-tester",
    "subscription-reconciliation",
)  # fmt: skip
SYNC_PAGES = ("profiles-sync-new", "profiles-sync", "profiles-sync-edit")
RULES_PAGES = ("identity-dry-run", "identity-insights")
PROFILE_PAGES = ("profile", "identifier-owner", "imports", "import")
ALERT_PAGES = ("alert", "alert-new", "alert-history", "alert-channel", "alert-channel-new")
IN_SPACE = (
    NavigationItem("space", "Overview", "overview", "space.read", ("space-guide",)),
    NavigationItem("profiles", "Profiles", "profiles", "space.read", PROFILE_PAGES),
    NavigationItem("computed-traits", "Computed traits", "chart", "space.read", TRAIT_PAGES),
    NavigationItem("sql-traits", "SQL traits", "sources", "space.read", SQL_PAGES),
    NavigationItem("audiences", "Audiences", "audiences", "space.read", AUDIENCE_PAGES),
    NavigationItem("destinations", "Destinations", "destinations", "space.read", DESTINATION_PAGES),
    NavigationItem("deliveries", "Deliveries", "deliveries", "space.read", ("delivery-overview",)),
    NavigationItem("profiles-syncs", "Profiles Sync", "retry", "space.read", SYNC_PAGES),
    NavigationItem("alerts", "Alerts", "warning", "space.read", ALERT_PAGES),
)
IN_SETTINGS = (
    NavigationItem("space-sources", "Sources", "sources", "space.read", CONNECTION_PAGES),
    NavigationItem("identity-settings", "Identity", "profiles", "space.read", RULES_PAGES),
    NavigationItem("profile-api", "Profile API", "key", "space.admin"),
    NavigationItem("space-privacy", "Privacy", "profiles", "space.admin", ("space-regulation-new", "space-regulation")),
    NavigationItem("space-settings", "General", "settings", "space.read", ("space-delete",)),
)
# One entry for all settings, which leads to the first tab.
SETTINGS = NavigationItem(
    "space-sources",
    "Settings",
    "settings",
    "space.read",
    tuple(name for item in IN_SETTINGS for name in (item.name, *item.also)),
)


class Frame:
    """What the base templates read. Everything that costs a query is lazy: a fragment for htmx shows none of it."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        # Error pages and the sign-in page are rendered without the gate, which sets these.
        self.membership: Membership | None = getattr(request, "membership", None)
        self.space: Space | None = getattr(request, "space", None)
        theme = request.COOKIES.get("theme", "")
        # Anything can be in a cookie, and this goes into the HTML.
        self.theme = theme if theme in THEMES else ""

    @property
    def workspace(self) -> Any:
        return self.membership.workspace if self.membership else None

    @cached_property
    def spaces(self) -> list[dict[str, Any]]:
        """The spaces in the switcher."""
        if self.membership is None:
            return []
        slug = self.membership.workspace.slug
        return [
            {"space": space, "url": reverse("space", args=[slug, space.slug]), "here": space == self.space}
            for space in spaces_of(self.membership).order_by("kind", "name", "id")
        ]

    @property
    def navigation(self) -> list[dict[str, Any]]:
        """The navigation of the space, or of the workspace: only what this member may open."""
        return self._links((*IN_SPACE, SETTINGS) if self.space else IN_WORKSPACE)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The tabs of the space's settings."""
        return self._links(IN_SETTINGS)

    @cached_property
    def replaying(self) -> bool:
        """Whether a replay runs into this space: what is computed from events is not complete yet."""
        return bool(self.space and is_replaying(self.space))

    @property
    def full_disk(self) -> Room | None:
        """The room on the disk when it is too little to accept events; None while there is enough."""
        disk = room()
        return None if disk.accepts else disk

    @cached_property
    def silent(self) -> list[str]:
        """What no worker answers for."""
        return pulse.silent() if self.membership else []

    def may(self, need: str) -> bool:
        """Whether this member has the permission here."""
        return bool(self.membership and self.membership.may(need, self.space))

    @cached_property
    def can(self) -> dict[str, bool]:
        """For templates, so that they show no button that would be refused: `frame.can.space_use`."""
        return {need.replace(".", "_"): self.may(need) for need in PERMISSIONS}

    def _links(self, items: Iterable[NavigationItem]) -> list[dict[str, Any]]:
        if self.membership is None:
            return []
        args = [self.membership.workspace.slug, *([self.space.slug] if self.space else [])]
        # None on a 404 page, where no URL pattern matched.
        match = self.request.resolver_match
        return [
            {
                "label": item.label,
                "icon": item.icon,
                "url": reverse(item.name, args=args),
                "here": bool(match and match.url_name in (item.name, *item.also)),
            }
            for item in items
            if self.may(item.need)
        ]


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor that adds `frame` to every template."""
    return {"frame": Frame(request)}
