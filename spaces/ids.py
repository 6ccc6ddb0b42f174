"""Public ids: a prefix that names the kind, then a sortable KSUID of 27 characters (spec/segment.md, head)."""

from ksuid import Ksuid


def new_id(prefix: str) -> str:
    """A fresh public id such as `spa_…`, sortable by the second of its making."""
    return f"{prefix}_{Ksuid()}"
