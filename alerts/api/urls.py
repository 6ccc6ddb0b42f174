from django.urls import path

from alerts.api import views

SPACE = "spaces/<str:space_id>"

urlpatterns = [
    path(f"{SPACE}/alert-kinds", views.AlertKindsView.as_view(), name="api-alert-kinds"),
    path(f"{SPACE}/alerts", views.AlertRulesView.as_view(), name="api-alerts"),
    path(f"{SPACE}/alerts/<str:alert_id>", views.AlertRuleView.as_view(), name="api-alert"),
    path(f"{SPACE}/alert-channels", views.AlertChannelsView.as_view(), name="api-alert-channels"),
    path(f"{SPACE}/alert-channels/<str:channel_id>", views.AlertChannelView.as_view(), name="api-alert-channel"),
    path(
        f"{SPACE}/alert-channels/<str:channel_id>/test",
        views.AlertChannelTestView.as_view(),
        name="api-alert-channel-test",
    ),
    path(f"{SPACE}/alert-occurrences", views.OccurrencesView.as_view(), name="api-alert-occurrences"),
    path(f"{SPACE}/alert-notifications", views.NotificationsView.as_view(), name="api-alert-notifications"),
]
