"""PURE. What the adapters of advertising tools share: lists of hashed addresses, and answers that name nobody."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from destinations.rules.contract import (
    CallOutcome,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
    outcome_of,
)
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, text


class AdvertisingOptions(SettingsDeclaration, frozen=True):
    """The audience over there that one audience fills."""

    list_name: Annotated[
        str, text("Audience there", help="Created when there is none. Empty: the name of the audience", max_length=100)
    ] = ""


def name_there(about: PayloadComputation, options: AdvertisingOptions) -> str:
    return options.list_name or about.name[:100]


def by_direction(changes: Sequence[IdentifierChange]) -> Iterator[tuple[bool, list[IdentifierChange]]]:
    """(entering, rows), without a direction in which nobody goes. Leaves come first: who is in both, is in."""
    for entering in (False, True):
        if rows := [row for row in changes if row.entering == entering]:
            yield entering, rows


def read_unnamed(request: DestinationRequest, answer: Answer | CallOutcome) -> list[CallOutcome]:
    """A hash has one form, and is refused for nobody's fault: what is refused, is refused as a whole."""
    outcome = answer if isinstance(answer, CallOutcome) else outcome_of(answer)
    kind = "suspended" if outcome.kind == "refused" else outcome.kind
    return [CallOutcome(kind, outcome.reason, outcome.retry_after_s)] * len(request.rows)
