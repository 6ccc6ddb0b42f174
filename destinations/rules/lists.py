"""PURE. Lists that a tool knows by an id of its own: looked for by name, and created when there is none."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from destinations.rules.contract import (
    AdapterStep,
    CallOutcome,
    DestinationRequest,
    PayloadComputation,
    RememberedAnswer,
    outcome_of,
)
from spaces.answers import Answer

LIST = "list_id"
LIST_HELP = "Its name over there; it is created when there is none. Empty: no list"
LONGEST_NAME = 100  # characters, which is what the shortest of these tools takes


def list_steps(
    find: Callable[[Any, str], DestinationRequest],
    existing: Callable[[Answer, str], Any],
    create: Callable[[Any, str], DestinationRequest],
    created: Callable[[Answer], Any],
    *,
    name: Callable[[PayloadComputation, Any], str] = lambda about, options: getattr(options, "list_name", ""),
    gives: str = LIST,
    failed: Callable[[Answer], CallOutcome | None] = lambda answer: None if answer.ok else outcome_of(answer),
) -> tuple[AdapterStep, AdapterStep]:
    """The steps that give `list_id`, or another id; none where `name` is empty.

    find, create(settings, name) -> the call. existing(answer, name) -> the id, or None; 404 is none. created(answer) ->
    the id. failed(answer) -> why there is none: a tool may say it in an answer that is 200.
    """

    def asks(call: Callable[[Any, str], DestinationRequest]) -> Any:
        def ask(about: PayloadComputation, settings: Any, options: Any, now: datetime) -> DestinationRequest | None:
            wanted = name(about, options)
            # The name is the request's id, by which `existing` knows what was asked for.
            return replace(call(settings, wanted), id=wanted) if wanted else None

        return ask

    def read_existing(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
        # Some tools have an address for each name.
        if answer.status == 404:
            return RememberedAnswer({})
        return failed(answer) or remembered(existing(answer, request.id))

    def read_created(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
        return failed(answer) or remembered(created(answer))

    def remembered(id: Any) -> RememberedAnswer:
        return RememberedAnswer({gives: str(id)} if id else {})

    return AdapterStep(gives, asks(find), read_existing), AdapterStep(gives, asks(create), read_created)
