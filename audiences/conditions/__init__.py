"""PURE. The kinds of conditions: every file of this folder is one, and is found by being here."""

from audiences.rules.conditions import Condition
from spaces.registry import objects_in

# By kind, which is the name of its file. Each file calls its class `condition`.
KINDS: dict[str, type[Condition]] = objects_in(__name__, "condition")
