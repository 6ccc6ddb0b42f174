from django.urls import path

from sources.api import views

urlpatterns = [
    path("sources", views.SourcesView.as_view(), name="api-sources"),
    path("sources/<str:source_id>", views.SourceView.as_view(), name="api-source"),
    path("sources/<str:source_id>/writekey", views.WriteKeysView.as_view(), name="api-write-keys"),
    path("sources/<str:source_id>/writekey/<str:key>", views.WriteKeyView.as_view(), name="api-write-key"),
    path("sources/<str:source_id>/rejects", views.RejectsView.as_view(), name="api-rejects"),
    path("sources/<str:source_id>/rejects/again", views.RejectsAgainView.as_view(), name="api-rejects-again"),
    path("sources/<str:source_id>/refused-requests", views.RefusedRequestsView.as_view(), name="api-refused-requests"),
    path("sources/<str:source_id>/events", views.EventNamesView.as_view(), name="api-event-names"),
    path("spaces/<str:space_id>/connections", views.ConnectionsView.as_view(), name="api-connections"),
    path(
        "spaces/<str:space_id>/connections/<str:connection_id>", views.ConnectionView.as_view(), name="api-connection"
    ),
    path("spaces/<str:space_id>/replays", views.ReplaysView.as_view(), name="api-replays"),
    path("spaces/<str:space_id>/replays/<str:replay_id>", views.ReplayView.as_view(), name="api-replay"),
    path(
        "spaces/<str:space_id>/replays/<str:replay_id>/cancel",
        views.CancelReplayView.as_view(),
        name="api-replay-cancel",
    ),
]
