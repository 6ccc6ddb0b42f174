"""The few ways in which a request leaves: each a function from a destination and a request to an answer."""

from collections.abc import Callable

from destinations.contract import Request
from destinations.models import Destination
from destinations.transports import catcher, http
from spaces.answers import Answer

Transport = Callable[[Destination, Request], Answer]  # raises rounds.Unanswered

TRANSPORTS: dict[str, Transport] = {"http": http.call, "catcher": catcher.call}
