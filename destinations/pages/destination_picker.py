"""Choosing where an audience goes: the space's destinations as cards, each with the options that its kind declares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access.pages.declared_forms import Declared, declared_form
from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Destination
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, camel, parse

CHOSEN = "destination"  # the name of the check boxes; the value is a destination's public id


@dataclass(frozen=True)
class DestinationChoice:
    """A destination as a card with a check box. options: the form for how this audience goes there."""

    destination: Destination
    label: str
    about: str
    style: str
    chosen: bool
    declared: type[SettingsDeclaration]
    options: Declared


def choices(
    destinations: Iterable[Destination],
    *,
    kind: str = "audience",
    of: str = "users",
    data: Any = None,
    chosen: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[DestinationChoice]:
    """kind, of: what is to go there, and whom it is about. data: what was sent. chosen: options by public id, of what
    was chosen before."""
    chosen, cards = chosen or {}, []
    for destination in destinations:
        if queries.refusal(destination, kind, of):
            continue
        adapter, id = adapter_of(destination.kind), destination.public_id
        declared = adapter.options_for(kind)
        ticked = id in (data.getlist(CHOSEN) if data is not None else chosen)
        values = {camel(name): value for name, value in chosen.get(id, {}).items()}
        # What nobody ticked is not looked at, so that its fields cannot be wrong.
        form = declared_form(declared, prefix=id, data=data if ticked else None, values=values)
        style = queries.style_of(destination)
        cards.append(DestinationChoice(destination, adapter.label, adapter.description, style, ticked, declared, form))
    return cards


def picked(rows: Sequence[DestinationChoice]) -> list[tuple[Destination, dict[str, Any]]] | None:
    """The destinations that were chosen, with their options; None when the options of one are wrong."""
    wanted = [row for row in rows if row.chosen]
    valid = [row.options.is_valid() for row in wanted]  # of each: all of them say what is wrong with them
    # Only once each is valid by itself: what does not go together is looked at last.
    agreeing = [_agrees(row) for row in wanted] if all(valid) else [False]
    return [(row.destination, row.options.given) for row in wanted] if all(agreeing) else None


def _agrees(row: DestinationChoice) -> bool:
    """Whether the kind takes these options together; else the form says what is wrong."""
    try:
        parse(row.declared, row.options.given)
    except InvalidSetting as error:
        row.options.refuse(error)
        return False
    return True
