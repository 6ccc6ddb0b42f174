from django.urls import path

from identity import api

PROFILE = "spaces/<str:space_id>/profiles/<str:profile_id>"

urlpatterns = [
    path("spaces/<str:space_id>/resolution", api.ResolutionView.as_view(), name="api-resolution"),
    path("spaces/<str:space_id>/timeline", api.TimelineView.as_view(), name="api-timeline"),
    path("spaces/<str:space_id>/identity-rules", api.IdentityRulesView.as_view(), name="api-identity-rules"),
    path("spaces/<str:space_id>/profiles", api.ProfilesView.as_view(), name="api-profiles"),
    path(PROFILE, api.ProfileView.as_view(), name="api-profile"),
    path(f"{PROFILE}/traits", api.TraitsView.as_view(), name="api-profile-traits"),
    path(f"{PROFILE}/external_ids", api.ExternalIdsView.as_view(), name="api-profile-external-ids"),
    path(f"{PROFILE}/events", api.ProfileEventsView.as_view(), name="api-profile-events"),
    path(f"{PROFILE}/related", api.RelatedView.as_view(), name="api-profile-related"),
    path(f"{PROFILE}/merges", api.MergesView.as_view(), name="api-profile-merges"),
]
