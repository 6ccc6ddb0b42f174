from django.urls import path

from profiles_sync.pages.views import syncs

SYNCS = "w/<slug:workspace>/s/<slug:space>/profiles-syncs"

urlpatterns = [
    path(SYNCS, syncs.syncs, name="profiles-syncs"),
    path(f"{SYNCS}/new", syncs.new, name="profiles-sync-new"),
    path(f"{SYNCS}/<str:profiles_sync>", syncs.sync, name="profiles-sync"),
    path(f"{SYNCS}/<str:profiles_sync>/edit", syncs.edit, name="profiles-sync-edit"),
]
