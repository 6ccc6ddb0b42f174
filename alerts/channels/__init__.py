"""One file per kind of channel; the folder is the list. A new kind: write `<kind>.py` with a `channel`."""

from functools import cache

from alerts.rules.contract import ChannelKind
from spaces.registry import objects_in


@cache
def all_channels() -> dict[str, ChannelKind]:
    """{kind: channel}, by kind."""
    return objects_in(__name__, "channel")
