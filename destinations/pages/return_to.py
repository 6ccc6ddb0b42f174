"""From where destinations are chosen to where one is made, and back with it."""

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from access.requests import PageRequest
from destinations.models import Destination
from destinations.pages.destination_picker import CHOSEN

NEW = "new"  # what the button that leads there sends as `to`


def to_make_one(request: PageRequest, back: str) -> str:
    """The address where a destination is made, and from which one comes back with it."""
    catalog = reverse("destination-catalog", args=[request.workspace.slug, request.space.slug])
    return f"{catalog}?{urlencode({'next': back})}"


def back_with(destination: Destination, back: str) -> str:
    """The address `back`, where the new destination is ticked if destinations are chosen there; "" stays so."""
    return f"{back}{'&' if '?' in back else '?'}{urlencode({CHOSEN: destination.public_id})}" if back else ""


def made_meanwhile(request: PageRequest) -> dict[str, dict[str, Any]]:
    """What the address ticks, with no options yet: it was made a moment ago, or ticked before that."""
    return {id: {} for id in request.GET.getlist(CHOSEN)}
