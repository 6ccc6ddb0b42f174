"""The pages about people, and about the rules that tell who is who."""

from django.urls import URLPattern, path

from identity.derived import TraitSearch
from identity.pages.views import dry_runs, identity_rules, insights, profiles, splits
from identity.split_effects import EffectsReader

SPACE = "w/<slug:workspace>/s/<slug:space>"
RULES = f"{SPACE}/settings/identity"
PROFILE = f"{SPACE}/profiles/<str:profile>"


def urls(*, having: TraitSearch, effects: EffectsReader) -> list[URLPattern]:
    """having: finds people by the value of a trait. effects: what a split means for audiences and destinations."""
    return [
        path(RULES, identity_rules.identity_settings, name="identity-settings"),
        path(f"{RULES}/insights", insights.insights, name="identity-insights"),
        path(f"{SPACE}/identifier-owner", insights.identifier_owner, name="identifier-owner"),
        path(f"{RULES}/dry-runs/<str:dry_run>", dry_runs.dry_run, name="identity-dry-run"),
        path(f"{SPACE}/profiles", profiles.profiles, {"having": having}, name="profiles"),
        path(PROFILE, profiles.profile, name="profile"),
        path(f"{PROFILE}/sheet", profiles.sheet, name="profile-sheet"),
        path(f"{PROFILE}/split", splits.split, {"effects": effects}, name="split-profile"),
    ]
