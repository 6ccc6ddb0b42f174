from django.urls import path

from privacy.api import views

SPACE = "spaces/<str:space_id>"

urlpatterns = [
    path("regulations", views.RegulationsView.as_view(), name="api-regulations"),
    path("regulations/<str:regulation_id>", views.RegulationView.as_view(), name="api-regulation"),
    path("suppressed/lookups", views.SuppressedView.as_view(), name="api-suppressed"),
    path(f"{SPACE}/regulations", views.SpaceRegulationsView.as_view(), name="api-space-regulations"),
    path(f"{SPACE}/regulations/<str:regulation_id>", views.SpaceRegulationView.as_view(), name="api-space-regulation"),
    path(f"{SPACE}/profiles/<str:profile_id>/export", views.ExportView.as_view(), name="api-profile-export"),
]
