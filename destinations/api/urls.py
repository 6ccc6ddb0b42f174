from django.urls import path
from rest_framework.views import APIView

from destinations.api import views

DESTINATION = "spaces/<str:space_id>/destinations/<str:destination_id>"
CONNECTIONS = "spaces/<str:space_id>/audiences/<str:audience_id>/destination-connections"
TRAITS = "spaces/<str:space_id>/computed-traits/<str:trait_id>/destination-connections"

ACTIONS: dict[str, type[APIView]] = {
    "rehearsals": views.RehearsalView,
    "reconciliation": views.ReconciliationView,
    "nod": views.NodView,
    "recall": views.RecallView,
    "send-again": views.SendAgainView,
}
TRAIT_ACTIONS: dict[str, type[APIView]] = {
    "rehearsals": views.TraitRehearsalView,
    "reconciliation": views.TraitReconciliationView,
    "nod": views.TraitNodView,
    "recall": views.TraitRecallView,
    "send-again": views.TraitSendAgainView,
}

urlpatterns = [
    path("catalog/destinations", views.CatalogView.as_view(), name="api-catalog"),
    path("spaces/<str:space_id>/destinations", views.DestinationsView.as_view(), name="api-destinations"),
    path("spaces/<str:space_id>/delivery-overview", views.DeliveryOverviewView.as_view(), name="api-delivery-overview"),
    path(DESTINATION, views.DestinationView.as_view(), name="api-destination"),
    path(f"{DESTINATION}/test", views.TestView.as_view(), name="api-destination-test"),
    path(f"{DESTINATION}/deliveries", views.DeliveriesView.as_view(), name="api-deliveries"),
    path(f"{DESTINATION}/caught", views.CaughtView.as_view(), name="api-caught"),
    path(f"{DESTINATION}/list", views.ListView.as_view(), name="api-caught-list"),
    path(CONNECTIONS, views.SubscriptionsView.as_view(), name="api-audience-destinations"),
    path(f"{CONNECTIONS}/<str:subscription_id>", views.SubscriptionView.as_view(), name="api-audience-destination"),
    path(f"{CONNECTIONS}/<str:subscription_id>/resync", views.ResyncView.as_view(), name="api-audience-resync"),
    path(f"{CONNECTIONS}/<str:subscription_id>/resume", views.ResumeView.as_view(), name="api-audience-resume"),
    path(f"{CONNECTIONS}/<str:subscription_id>/retry", views.RetryView.as_view(), name="api-audience-retry"),
    path(TRAITS, views.TraitSubscriptionsView.as_view(), name="api-trait-destinations"),
    path(f"{TRAITS}/<str:trait_subscription_id>", views.TraitSubscriptionView.as_view(), name="api-trait-destination"),
    path(f"{TRAITS}/<str:trait_subscription_id>/resync", views.TraitResyncView.as_view(), name="api-trait-resync"),
    path(f"{TRAITS}/<str:trait_subscription_id>/resume", views.TraitResumeView.as_view(), name="api-trait-resume"),
    path(f"{TRAITS}/<str:trait_subscription_id>/retry", views.TraitRetryView.as_view(), name="api-trait-retry"),
    *(
        path(f"{CONNECTIONS}/<str:subscription_id>/{action}", view.as_view(), name=f"api-audience-{action}")
        for action, view in ACTIONS.items()
    ),
    *(
        path(f"{TRAITS}/<str:trait_subscription_id>/{action}", view.as_view(), name=f"api-trait-{action}")
        for action, view in TRAIT_ACTIONS.items()
    ),
]
