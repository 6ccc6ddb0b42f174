"""HTTP, through the one door out."""

from destinations.contract import Request
from destinations.models import Destination
from destinations.rounds import Unanswered
from spaces.answers import Answer
from spaces.outbound import OutboundError, send


def call(destination: Destination, request: Request) -> Answer:
    try:
        return send(
            request.method, request.url, headers=request.headers, body=request.body, timeout_s=request.timeout_s
        )
    except OutboundError as error:
        raise Unanswered(str(error), permanent=error.permanent, arrived=error.arrived) from error
