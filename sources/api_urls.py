from django.urls import path

from sources import api

urlpatterns = [
    path("sources", api.SourcesView.as_view(), name="api-sources"),
    path("sources/<str:source_id>", api.SourceView.as_view(), name="api-source"),
    path("sources/<str:source_id>/writekey", api.WriteKeysView.as_view(), name="api-write-keys"),
    path("sources/<str:source_id>/writekey/<str:key>", api.WriteKeyView.as_view(), name="api-write-key"),
    path("sources/<str:source_id>/rejects", api.RejectsView.as_view(), name="api-rejects"),
    path("sources/<str:source_id>/rejects/again", api.RejectsAgainView.as_view(), name="api-rejects-again"),
    path("sources/<str:source_id>/events", api.EventNamesView.as_view(), name="api-event-names"),
    path("spaces/<str:space_id>/connections", api.ConnectionsView.as_view(), name="api-connections"),
    path("spaces/<str:space_id>/connections/<str:connection_id>", api.ConnectionView.as_view(), name="api-connection"),
    path("spaces/<str:space_id>/replays", api.ReplaysView.as_view(), name="api-replays"),
    path("spaces/<str:space_id>/replays/<str:replay_id>", api.ReplayView.as_view(), name="api-replay"),
    path(
        "spaces/<str:space_id>/replays/<str:replay_id>/cancel",
        api.CancelReplayView.as_view(),
        name="api-replay-cancel",
    ),
]
