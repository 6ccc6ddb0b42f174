from django.urls import path

from identity.pages.views import dry_runs, identity_rules, insights, profiles, splits

urlpatterns = [
    path(
        "w/<slug:workspace>/s/<slug:space>/settings/identity",
        identity_rules.identity_settings,
        name="identity-settings",
    ),
    path("w/<slug:workspace>/s/<slug:space>/settings/identity/insights", insights.insights, name="identity-insights"),
    path("w/<slug:workspace>/s/<slug:space>/identifier-owner", insights.identifier_owner, name="identifier-owner"),
    path(
        "w/<slug:workspace>/s/<slug:space>/settings/identity/dry-runs/<str:dry_run>",
        dry_runs.dry_run,
        name="identity-dry-run",
    ),
    path("w/<slug:workspace>/s/<slug:space>/profiles", profiles.profiles, name="profiles"),
    path("w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>", profiles.profile, name="profile"),
    path("w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/sheet", profiles.sheet, name="profile-sheet"),
    path("w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/split", splits.split, name="split-profile"),
]
