"""One file per kind of warehouse that can be synced to; the folder is the list.

A new kind: write `<kind>.py` with a `store`. What it opens it opens through `spaces.outbound`.
"""

from functools import cache

from profiles_sync.rules.warehouse import SyncKind
from spaces.registry import objects_in


@cache
def all_stores() -> dict[str, SyncKind]:
    """{kind: what it is}, by kind."""
    return objects_in(__name__, "store")
