from django.urls import URLPattern, path

from identity.api import dry_runs, insights, splits, views
from identity.derived import DerivedReader, TraitSearch
from identity.split_effects import EffectsReader

RUNS = "spaces/<str:space_id>/identity-rules/dry-runs"
PROFILE = "spaces/<str:space_id>/profiles/<str:profile_id>"


def urls(*, derived: DerivedReader, having: TraitSearch, effects: EffectsReader) -> list[URLPattern]:
    """derived: reads computed traits and audiences of a person. having: finds people by the value of a trait.
    effects: what a split means for audiences and destinations."""
    preview = splits.SplitPreviewView.as_view(effects=effects)
    return [
        path("spaces/<str:space_id>/resolution", views.ResolutionView.as_view(), name="api-resolution"),
        path("spaces/<str:space_id>/timeline", views.TimelineView.as_view(), name="api-timeline"),
        path("spaces/<str:space_id>/identity-rules", views.IdentityRulesView.as_view(), name="api-identity-rules"),
        path(RUNS, dry_runs.DryRunsView.as_view(), name="api-dry-runs"),
        path(f"{RUNS}/<str:dry_run_id>", dry_runs.DryRunView.as_view(), name="api-dry-run"),
        path(f"{RUNS}/<str:dry_run_id>/apply", dry_runs.ApplyDryRunView.as_view(), name="api-dry-run-apply"),
        path("spaces/<str:space_id>/identity-insights", insights.InsightsView.as_view(), name="api-identity-insights"),
        path("spaces/<str:space_id>/identifier-owner", insights.OwnerView.as_view(), name="api-identifier-owner"),
        path("spaces/<str:space_id>/splits", splits.SplitsView.as_view(), name="api-splits"),
        path("spaces/<str:space_id>/splits/preview", preview, name="api-split-preview"),
        path("spaces/<str:space_id>/splits/<str:split_id>", splits.SplitView.as_view(), name="api-split"),
        path("spaces/<str:space_id>/profiles", views.ProfilesView.as_view(having=having), name="api-profiles"),
        path(PROFILE, views.ProfileView.as_view(derived=derived), name="api-profile"),
        path(f"{PROFILE}/traits", views.TraitsView.as_view(derived=derived), name="api-profile-traits"),
        path(f"{PROFILE}/external_ids", views.ExternalIdsView.as_view(), name="api-profile-external-ids"),
        path(f"{PROFILE}/events", views.ProfileEventsView.as_view(), name="api-profile-events"),
        path(f"{PROFILE}/related", views.RelatedView.as_view(), name="api-profile-related"),
        path(f"{PROFILE}/note", views.NoteView.as_view(), name="api-profile-note"),
        path(f"{PROFILE}/merges", views.MergesView.as_view(), name="api-profile-merges"),
    ]
