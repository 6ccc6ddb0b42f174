"""PURE. Kinds of things that are a file each, in a folder that is the list of them."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def objects_in(package: str, attribute: str) -> dict[str, Any]:
    """{name of a file: what it has under this name}, of all files of the package, by name.

    Raises ValueError for a thing whose `kind`, where it has one, is not the name of its file: what is stored names it
    by its kind, and would not find it.
    """
    names = sorted(module.name for module in iter_modules(import_module(package).__path__))
    objects = {name: getattr(import_module(f"{package}.{name}"), attribute) for name in names}
    for name, item in objects.items():
        if getattr(item, "kind", name) != name:
            raise ValueError(f"{package}.{name} calls itself {item.kind}")
    return objects
