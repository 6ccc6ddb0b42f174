"""PURE. The kinds of computed traits: every file of this folder is one, and is found by being here."""

from audiences.rules.traits import TraitKind
from spaces.registry import objects_in

# By kind, which is the name of its file. Each file calls its class `trait`.
TRAITS: dict[str, type[TraitKind]] = objects_in(__name__, "trait")
