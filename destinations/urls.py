from django.urls import path

from destinations.views import audiences, deliveries, destinations, drafts

SPACE = "w/<slug:workspace>/s/<slug:space>"
AUDIENCE = f"{SPACE}/audiences/<str:audience>"
DRAFT = f"{SPACE}/audiences/drafts/<str:draft>"
DESTINATION = f"{SPACE}/destinations/<str:destination>"

urlpatterns = [
    path(f"{SPACE}/destinations", destinations.destinations, name="destinations"),
    path(f"{SPACE}/destinations/catalog", destinations.catalog, name="destination-catalog"),
    path(f"{SPACE}/destinations/new", destinations.create, name="destination-create"),
    path(DESTINATION, destinations.destination, name="destination"),
    path(f"{DESTINATION}/caught", deliveries.caught, name="caught"),
    path(f"{SPACE}/deliveries", deliveries.deliveries, name="deliveries"),
    path(f"{DRAFT}/destinations", drafts.where, name="draft-destinations"),
    path(f"{DRAFT}/review", drafts.review, name="draft-review"),
    path(AUDIENCE, audiences.audience, name="audience"),
    path(f"{AUDIENCE}/members.csv", audiences.members, name="audience-members"),
    path(f"{AUDIENCE}/settings", audiences.settings, name="audience-settings"),
    path(f"{AUDIENCE}/connect", audiences.connect, name="audience-connect"),
    path(f"{AUDIENCE}/destinations/<str:subscription>", audiences.subscription, name="subscription"),
]
