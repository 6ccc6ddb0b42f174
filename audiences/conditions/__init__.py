"""PURE. The kinds of conditions: every file of this folder is one, and is found by being here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from audiences.rules.conditions import Condition


def _kinds() -> dict[str, type[Condition]]:
    """Each file's `condition`, by its kind, which is the name of the file."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: cast(type[Condition], import_module(f"{__name__}.{name}").condition) for name in names}


KINDS = _kinds()
