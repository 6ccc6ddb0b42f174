"""The kinds of alerts: one file each, in folders of the apps that know what they watch (settings.ALERT_KINDS)."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from django.conf import settings

from alerts.rules.contract import AlertKind


@cache
def all_kinds() -> dict[str, AlertKind]:
    """{kind: what it is}, in the order of the folders and of their files."""
    kinds: dict[str, AlertKind] = {}
    for folder in settings.ALERT_KINDS:
        for name in sorted(module.name for module in iter_modules(import_module(folder).__path__)):
            kind = import_module(f"{folder}.{name}").kind
            if kind.kind != name or name in kinds:
                raise ValueError(f"{folder}.{name} calls itself {kind.kind}")
            kinds[name] = kind
    return kinds
