"""PURE. The kinds of conditions: every file of this folder is one, and is found by being here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from audiences.rules.conditions import Condition

# By kind, which is the name of its file. Each file calls its class `condition`.
KINDS: dict[str, type[Condition]] = {
    name: cast(type[Condition], import_module(f"{__name__}.{name}").condition)
    for name in sorted(module.name for module in iter_modules(__path__))
}
