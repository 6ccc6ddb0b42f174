from django.urls import path

from audiences.api.traits import of_trait
from destinations.api import views

DESTINATION = "spaces/<str:space_id>/destinations/<str:destination_id>"
CONNECTIONS = "spaces/<str:space_id>/audiences/<str:audience_id>/destination-connections"
TRAITS = "spaces/<str:space_id>/computed-traits/<str:trait_id>/destination-connections"

# By the last part of their address: the view, and its operations of a computed trait.
ACTIONS = {
    "resync": (views.ResyncView, {"post": "resync_trait_subscription"}),
    "resume": (views.ResumeView, {"post": "resume_trait_subscription"}),
    "retry": (views.RetryView, {"post": "retry_trait_identifier"}),
    "rehearsals": (views.RehearsalView, {"post": "rehearse_trait_subscription"}),
    "reconciliation": (
        views.ReconciliationView,
        {"get": "reconcile_trait_subscription", "post": "mend_trait_subscription"},
    ),
    "nod": (views.NodView, {"post": "nod_trait_subscription"}),
    "recall": (views.RecallView, {"post": "recall_trait_subscription"}),
    "send-again": (views.SendAgainView, {"post": "send_trait_subscription"}),
}

TraitSubscriptionsView = of_trait(
    views.SubscriptionsView, get="list_trait_subscriptions", post="create_trait_subscription"
)
TraitSubscriptionView = of_trait(
    views.SubscriptionView,
    get="get_trait_subscription",
    patch="change_trait_subscription",
    delete="delete_trait_subscription",
)

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
    path(TRAITS, TraitSubscriptionsView.as_view(), name="api-trait-destinations"),
    path(f"{TRAITS}/<str:trait_subscription_id>", TraitSubscriptionView.as_view(), name="api-trait-destination"),
    *(
        path(f"{CONNECTIONS}/<str:subscription_id>/{action}", view.as_view(), name=f"api-audience-{action}")
        for action, (view, _) in ACTIONS.items()
    ),
    *(
        path(
            f"{TRAITS}/<str:trait_subscription_id>/{action}",
            of_trait(view, **operations).as_view(),
            name=f"api-trait-{action}",
        )
        for action, (view, operations) in ACTIONS.items()
    ),
]
