from django.urls import path

from destinations.pages.views import deliveries, destinations, sending

SPACE = "w/<slug:workspace>/s/<slug:space>"
DESTINATION = f"{SPACE}/destinations/<str:destination>"
SUBSCRIPTION = f"{SPACE}/subscriptions/<str:subscription>"

urlpatterns = [
    path(f"{SPACE}/destinations", destinations.destinations, name="destinations"),
    path(f"{SPACE}/destinations/catalog", destinations.catalog, name="destination-catalog"),
    path(f"{SPACE}/destinations/new", destinations.create, name="destination-create"),
    path(DESTINATION, destinations.destination, name="destination"),
    path(f"{DESTINATION}/caught", deliveries.caught, name="caught"),
    path(f"{SUBSCRIPTION}/sending", sending.sending, name="subscription-sending"),
    path(f"{SUBSCRIPTION}/reconciliation", sending.reconciliation, name="subscription-reconciliation"),
    path(f"{SUBSCRIPTION}/tester", sending.tester, name="subscription-tester"),
    path(f"{SPACE}/deliveries/overview", deliveries.overview, name="delivery-overview"),
    path(f"{SPACE}/deliveries", deliveries.deliveries, name="deliveries"),
]
