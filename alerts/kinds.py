"""The kinds of alerts: one file each, in folders of the apps that know what they watch (settings.ALERT_KINDS)."""

from functools import cache

from django.conf import settings

from alerts.rules.contract import AlertKind
from spaces.registry import objects_in


@cache
def all_kinds() -> dict[str, AlertKind]:
    """{kind: what it is}, in the order of the folders and of their files."""
    kinds: dict[str, AlertKind] = {}
    for folder in settings.ALERT_KINDS:
        more = objects_in(folder, "kind")
        # A stored kind must mean one thing, whatever folder is added.
        if twice := kinds.keys() & more.keys():
            raise ValueError(f"{folder} has {', '.join(sorted(twice))}, as another folder has")
        kinds |= more
    return kinds
