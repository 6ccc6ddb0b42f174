"""PURE. What the adapters of advertising tools share: lists of hashed identifiers, and answers that name nobody."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated

from destinations.rules.contract import (
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    outcome_of,
)
from destinations.rules.lists import LONGEST_NAME, list_steps
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, text

# {type of identifier: (its name over there, how a value is compared)}
ComparedTypes = Mapping[str, tuple[str, Callable[[str], str]]]
UNREAD = "It compares hashes, and tells nobody who is in an audience there"
IDFA, ANDROID_ID = "ios.idfa", "android.idfa"  # the advertising ids, as Segment's mobile libraries send them


class AdvertisingOptions(SettingsDeclaration, frozen=True):
    """The audience over there that one audience fills."""

    list_name: Annotated[
        str,
        text(
            "Audience there",
            help="Created when there is none. Empty: the name of the audience",
            max_length=LONGEST_NAME,
        ),
    ] = ""


def list_capabilities(compared: ComparedTypes, *limits: DocumentedLimit, per_second: float = 5) -> Capabilities:
    """Of a list of people, of whom nothing is known besides how they are compared."""
    return Capabilities(
        styles=("list",), batch=500, per_second=per_second, identifiers=(*compared,), fields=None, limits=limits
    )


# The steps that find the audience over there, or create it. Unlike a list of other tools, it always has a name.
audience_steps = partial(list_steps, name=lambda about, options: options.list_name or about.name[:LONGEST_NAME])


def by_direction(changes: Changes) -> Iterator[tuple[bool, list[IdentifierChange]]]:
    """(entering, rows), without a direction in which nobody goes. Leaves come first: who is in both, is in."""
    for entering in (False, True):
        if rows := [row for row in changes if row.entering == entering]:
            yield entering, rows


def by_direction_and_type(
    changes: Changes, compared: ComparedTypes
) -> Iterator[tuple[bool, str, list[IdentifierChange], list[str]]]:
    """(entering, the type's name over there, rows, as they are compared): a request has one type for all."""
    for entering, rows in by_direction(changes):
        groups: dict[str, list[tuple[IdentifierChange, str]]] = {}
        for row in rows:
            name, value = compared_value(row, compared)
            groups.setdefault(name, []).append((row, value))
        for name, pairs in groups.items():
            yield entering, name, [row for row, _ in pairs], [value for _, value in pairs]


def compared_value(change: IdentifierChange, compared: ComparedTypes) -> tuple[str, str]:
    """(the type's name over there, the value as it is compared) of the one identifier that a change is about.

    Of a call about a telephone only its number goes: the address has a call of its own, and may stay when it leaves.
    """
    type, value = next(iter(change.address.others.items()), ("email", str(change.address.email)))
    name, as_compared = compared[type]
    return name, as_compared(value)


def read_unnamed(request: DestinationRequest, answer: Answer | CallOutcome) -> list[CallOutcome]:
    """A hash has one form, and is refused for nobody's fault: what is refused, is refused as a whole."""
    outcome = answer if isinstance(answer, CallOutcome) else outcome_of(answer)
    kind = "suspended" if outcome.kind == "refused" else outcome.kind
    return [CallOutcome(kind, outcome.reason, outcome.retry_after_s)] * len(request.rows)
