from django.urls import path

from alerts.pages.views import alerts

ALERTS = "w/<slug:workspace>/s/<slug:space>/alerts"

urlpatterns = [
    path(ALERTS, alerts.alerts, name="alerts"),
    path(f"{ALERTS}/history", alerts.history, name="alert-history"),
    path(f"{ALERTS}/new", alerts.alert_new, name="alert-new"),
    path(f"{ALERTS}/channels/new", alerts.channel_new, name="alert-channel-new"),
    path(f"{ALERTS}/channels/<str:channel>", alerts.channel, name="alert-channel"),
    path(f"{ALERTS}/<str:alert>", alerts.alert, name="alert"),
]
