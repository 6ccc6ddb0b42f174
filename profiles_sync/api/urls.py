from django.urls import path

from profiles_sync.api import views

SYNCS = "spaces/<str:space_id>/profiles-syncs"
SYNC = f"{SYNCS}/<str:profiles_sync_id>"

urlpatterns = [
    path(SYNCS, views.ProfilesSyncsView.as_view(), name="api-profiles-syncs"),
    path(SYNC, views.ProfilesSyncView.as_view(), name="api-profiles-sync"),
    path(f"{SYNC}/test", views.ProfilesSyncTestView.as_view(), name="api-profiles-sync-test"),
    path(f"{SYNC}/run", views.ProfilesSyncRunView.as_view(), name="api-profiles-sync-run"),
    path(f"{SYNC}/cancel", views.ProfilesSyncCancelView.as_view(), name="api-profiles-sync-cancel"),
    path(f"{SYNC}/runs", views.SyncRunsView.as_view(), name="api-profiles-sync-runs"),
]
