"""One file per kind of channel; the folder is the list. A new kind: write `<kind>.py` with a `channel`."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from alerts.rules.contract import ChannelKind


@cache
def all_channels() -> dict[str, ChannelKind]:
    """{kind: channel}, by kind."""
    names = sorted(module.name for module in iter_modules(__path__))
    channels = {name: import_module(f"{__name__}.{name}").channel for name in names}
    for name, channel in channels.items():
        if channel.kind != name:
            raise ValueError(f"channels/{name}.py calls itself {channel.kind}")
    return channels
