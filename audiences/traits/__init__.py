"""PURE. The kinds of computed traits: every file of this folder is one, and is found by being here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from audiences.rules.traits import TraitKind

# By kind, which is the name of its file. Each file calls its class `trait`.
TRAITS: dict[str, type[TraitKind]] = {
    name: cast(type[TraitKind], import_module(f"{__name__}.{name}").trait)
    for name in sorted(module.name for module in iter_modules(__path__))
}
