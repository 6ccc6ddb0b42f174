from django.urls import path

from audiences.api import views

AUDIENCES = "spaces/<str:space_id>/audiences"
AUDIENCE = f"{AUDIENCES}/<str:audience_id>"
CHANGE = f"{AUDIENCE}/changes/<str:change_id>"

urlpatterns = [
    path(AUDIENCES, views.AudiencesView.as_view(), name="api-audiences"),
    path(f"{AUDIENCES}/previews", views.PreviewView.as_view(), name="api-audience-preview"),
    path(AUDIENCE, views.AudienceView.as_view(), name="api-audience"),
    path(f"{AUDIENCE}/members", views.MembersView.as_view(), name="api-audience-members"),
    path(f"{AUDIENCE}/changes", views.ChangesView.as_view(), name="api-audience-changes"),
    path(f"{CHANGE}/entered", views.EnteredView.as_view(), name="api-audience-entered"),
    path(f"{CHANGE}/left", views.LeftView.as_view(), name="api-audience-left"),
    path("spaces/<str:space_id>/condition-kinds", views.ConditionKindsView.as_view(), name="api-condition-kinds"),
]
