from django.urls import path

from audiences import api

AUDIENCES = "spaces/<str:space_id>/audiences"
AUDIENCE = f"{AUDIENCES}/<str:audience_id>"
CHANGE = f"{AUDIENCE}/changes/<str:change_id>"

urlpatterns = [
    path(AUDIENCES, api.AudiencesView.as_view(), name="api-audiences"),
    path(f"{AUDIENCES}/previews", api.PreviewView.as_view(), name="api-audience-preview"),
    path(AUDIENCE, api.AudienceView.as_view(), name="api-audience"),
    path(f"{AUDIENCE}/members", api.MembersView.as_view(), name="api-audience-members"),
    path(f"{AUDIENCE}/changes", api.ChangesView.as_view(), name="api-audience-changes"),
    path(f"{CHANGE}/entered", api.MovedView.as_view(side="entered"), name="api-audience-entered"),
    path(f"{CHANGE}/left", api.MovedView.as_view(side="left"), name="api-audience-left"),
    path("spaces/<str:space_id>/condition-kinds", api.ConditionKindsView.as_view(), name="api-condition-kinds"),
]
