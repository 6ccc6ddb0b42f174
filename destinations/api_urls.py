from django.urls import path

from destinations import api

DESTINATION = "spaces/<str:space_id>/destinations/<str:destination_id>"
CONNECTIONS = "spaces/<str:space_id>/audiences/<str:audience_id>/destination-connections"

urlpatterns = [
    path("catalog/destinations", api.CatalogView.as_view(), name="api-catalog"),
    path("spaces/<str:space_id>/destinations", api.DestinationsView.as_view(), name="api-destinations"),
    path(DESTINATION, api.DestinationView.as_view(), name="api-destination"),
    path(f"{DESTINATION}/test", api.TestView.as_view(), name="api-destination-test"),
    path(f"{DESTINATION}/deliveries", api.DeliveriesView.as_view(), name="api-deliveries"),
    path(f"{DESTINATION}/caught", api.CaughtView.as_view(), name="api-caught"),
    path(f"{DESTINATION}/list", api.ListView.as_view(), name="api-caught-list"),
    path(CONNECTIONS, api.ConnectionsView.as_view(), name="api-audience-destinations"),
    path(f"{CONNECTIONS}/<str:subscription_id>", api.ConnectionView.as_view(), name="api-audience-destination"),
    path(f"{CONNECTIONS}/<str:subscription_id>/resync", api.ResyncView.as_view(), name="api-audience-resync"),
    path(f"{CONNECTIONS}/<str:subscription_id>/resume", api.ResumeView.as_view(), name="api-audience-resume"),
    path(f"{CONNECTIONS}/<str:subscription_id>/retry", api.RetryView.as_view(), name="api-audience-retry"),
]
