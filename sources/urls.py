from django.urls import path

from sources import views

urlpatterns = [
    path("w/<slug:workspace>/sources", views.sources, name="sources"),
    path("w/<slug:workspace>/s/<slug:space>/sources", views.space_sources, name="space-sources"),
    path("w/<slug:workspace>/s/<slug:space>/sources/replays", views.replays, name="space-replays"),
]
