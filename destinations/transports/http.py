"""HTTP, through the one door out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from destinations.models import Destination
from destinations.rules.contract import DestinationRequest
from destinations.rules.send_batch import Unanswered
from spaces.answers import Answer
from spaces.outbound import LARGEST_ANSWER, Caller, OutboundError
from spaces.settings_schema import SettingsDeclaration

LONGEST_LOOK_UP = 8 * 1024 * 1024  # bytes: some thousand lists, or a hundred profiles with all they have


@contextmanager
def calls(destination: Destination, settings: SettingsDeclaration) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """Connections are kept from call to call of this destination, and shared with no other."""
    with Caller() as caller:

        def call(request: DestinationRequest) -> Answer:
            try:
                return caller.send(
                    request.method,
                    request.url,
                    headers=request.headers,
                    body=request.body,
                    timeout_s=request.timeout_s,
                    # Of an answer by which it goes on, all is needed; of any other what a person reads of it.
                    largest=LONGEST_LOOK_UP if request.then or not request.rows else LARGEST_ANSWER,
                )
            except OutboundError as error:
                raise Unanswered(str(error), permanent=error.permanent, arrived=error.arrived) from error

        yield call
