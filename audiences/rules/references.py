"""PURE. What a question may compare with in place of a value that is written down: what the person or an event has.

`{"trait": "plan"}` is the person's trait; `{"parent": "cart_id"}`, in a step of a sequence, the property of the event
that the step follows. And membership that is past: whoever entered an audience lately, or was ever in it.
"""

from dataclasses import dataclass
from typing import Any

from audiences.rules.validation import EACH, NAME_SCHEMA, DefinitionError, JsonReader
from audiences.rules.windows import Duration

TRAIT, PARENT = "trait", "parent"


@dataclass(frozen=True)
class Reference:
    of: str  # TRAIT or PARENT
    name: str

    def json(self) -> dict[str, str]:
        return {self.of: self.name}


def read_reference(value: dict[str, Any], path: str, allowed: tuple[str, ...]) -> Reference:
    """Raises DefinitionError."""
    reader = JsonReader(value, path)
    named = [of for of in allowed if of in reader]
    # An object is a reference or nothing: a value that is an object no operator takes.
    if len(named) != 1:
        raise DefinitionError(path, f"must be a value, or an object with one of {', '.join(allowed)}")
    reference = Reference(named[0], reader.name(named[0]))
    if reference.of == PARENT and EACH in reference.name:
        # An event that has several values there would be followed by several things.
        raise reader.error(PARENT, f"must lead to one value, without {EACH}")
    reader.done()
    return reference


def reference_schema(of: str) -> dict[str, Any]:
    return {"type": "object", "required": [of], "properties": {of: NAME_SCHEMA}, "additionalProperties": False}


@dataclass(frozen=True)
class PastMembership:
    """Having entered the audience `key` within this time up to now; None = having been in it at any time."""

    key: str
    within: Duration | None

    @property
    def name(self) -> str:
        """Of whoever did so before the present tick. No audience has such a key."""
        return f"{self.key} {self.within or 'ever'}"

    @property
    def before(self) -> str:
        """Of whoever was in the audience before the present tick."""
        return f"{self.key} before"
