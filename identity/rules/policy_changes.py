"""PURE. What differs between two policies, in sentences."""

from collections.abc import Iterator

from identity.rules.policy import Blocked, Policy

NAMED = 5  # values or patterns that a sentence quotes


def policy_changes(before: Policy, after: Policy) -> list[str]:
    """A sentence for each difference, those of the most trusted identifiers first; empty when there is none."""
    return list(_changes(before, after))


def _changes(before: Policy, after: Policy) -> Iterator[str]:
    old = {definition.type: definition for definition in before.identifiers}
    for rank, definition in enumerate(after.identifiers, 1):
        type = definition.type
        if type not in old:
            yield f"{type} is a new identifier: priority {rank}, limit {definition.limit}."
            continue
        was = old.pop(type)
        if was.limit != definition.limit:
            yield f"{type}: the limit is {definition.limit} instead of {was.limit}."
        for values_of in ("values", "patterns"):
            yield from _blocked(type, values_of, was.blocked, definition.blocked)
    for type in old:
        yield f"{type} is no identifier any more."
    # Of those that both have: a new one between two others does not change their order.
    kept = [definition.type for definition in before.identifiers if definition.type in after.rank]
    order = [definition.type for definition in after.identifiers if definition.type in before.rank]
    if kept != order:
        yield f"The priority is {', '.join(definition.type for definition in after.identifiers)}."
    if before.max_merges != after.max_merges:
        yield f"A profile takes in at most {after.max_merges} others instead of {before.max_merges}."
    if before.max_mappings != after.max_mappings:
        yield f"A profile holds at most {after.max_mappings} identifiers instead of {before.max_mappings}."


def _blocked(type: str, what: str, before: Blocked, after: Blocked) -> Iterator[str]:
    old, new = getattr(before, what), getattr(after, what)
    noun = "value" if what == "values" else "pattern"
    for verb, texts in (
        ("blocked", [text for text in new if text not in old]),
        ("no longer blocked", [text for text in old if text not in new]),
    ):
        if texts:
            are, s = ("are", "s") if len(texts) > 1 else ("is", "")
            more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
            yield f"{type}: the {noun}{s} {', '.join(texts[:NAMED])}{more} {are} {verb}."
