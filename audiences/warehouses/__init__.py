"""One file per kind of warehouse; the folder is the list.

A new kind: write `<kind>.py` with a `warehouse`. What it opens it opens through `spaces.outbound`.
"""

from functools import cache

from audiences.rules.warehouse import WarehouseKind
from spaces.registry import objects_in


@cache
def all_warehouses() -> dict[str, WarehouseKind]:
    """{kind: what it is}, by kind."""
    return objects_in(__name__, "warehouse")
