"""One file per kind of warehouse; the folder is the list.

A new kind: write `<kind>.py` with a `warehouse`. What it opens it opens through `spaces.outbound`.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from audiences.rules.warehouse import WarehouseKind


@cache
def all_warehouses() -> dict[str, WarehouseKind]:
    """{kind: what it is}, by kind."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}").warehouse for name in names}
