"""PURE. The tables that a warehouse gets, by the names and columns that Segment's Profiles Sync gives them.

Tables of profiles hold what is so now: what they say of a person is replaced as a whole. Tables of events only grow,
but for events of people who were split or erased.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType

TEXT, INTEGER, MOMENT = "text", "integer", "moment"
LOADED = "uuid_ts"  # when a row came into the warehouse: what models that are built in steps go by
LONGEST_NAME = 60  # PostgreSQL cuts names after 63 bytes, and two could become one
MOST_COLUMNS = 400  # of a table, besides its own: PostgreSQL takes at most 1,600, and fewer wide ones
MOST_EVENT_TABLES = 2_000  # as Segment; later names are in `tracks` alone
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class SyncTable:
    """key: a row is the only one with it. owner: the column with the segment id that says whose a row is.

    wide: it has a column more for each trait or property that there is.
    """

    name: str
    columns: Mapping[str, str] = field(hash=False)
    key: tuple[str, ...]
    owner: str
    wide: bool = False

    def with_columns(self, names: Sequence[str]) -> Mapping[str, str]:
        """All of its columns. names: of those that it has more."""
        return {**self.columns, **dict.fromkeys(names, TEXT), LOADED: MOMENT}


SEEN = {"seq": INTEGER, "timestamp": MOMENT}
TRIGGER = {"triggering_event_type": TEXT, "triggering_event_id": TEXT}
ID_GRAPH_UPDATES = SyncTable(
    "id_graph_updates",
    {"segment_id": TEXT, "canonical_segment_id": TEXT, **TRIGGER, "timestamp": MOMENT},
    key=("segment_id", "canonical_segment_id"),
    owner="segment_id",
)
EXTERNAL_ID_MAPPING_UPDATES = SyncTable(
    "external_id_mapping_updates",
    {
        "segment_id": TEXT,
        "external_id_type": TEXT,
        "external_id_value": TEXT,
        "external_id_hash": TEXT,
        **TRIGGER,
        "triggering_event_name": TEXT,
        "triggering_event_source_id": TEXT,
        "triggering_event_source_name": TEXT,
        "triggering_event_source_slug": TEXT,
        **SEEN,
        "__operation": TEXT,
    },
    key=("external_id_type", "external_id_value"),
    owner="segment_id",
)
USER_TRAITS = SyncTable(
    "user_traits",
    {"canonical_segment_id": TEXT, "name": TEXT, "value": TEXT, **SEEN},
    key=("canonical_segment_id", "name"),
    owner="canonical_segment_id",
)
USER_IDENTIFIERS = SyncTable(
    "user_identifiers",
    {"canonical_segment_id": TEXT, "type": TEXT, "value": TEXT, **SEEN},
    key=("type", "value"),
    owner="canonical_segment_id",
)
PROFILE_MERGES = SyncTable(
    "profile_merges",
    {"canonical_segment_id": TEXT, "segment_id": TEXT, **SEEN},
    key=("segment_id",),
    owner="segment_id",
)
# Not one of Segment's, where an audience is a trait alone, which says neither which audience nor since when.
AUDIENCE_MEMBERSHIPS = SyncTable(
    "audience_memberships",
    {"canonical_segment_id": TEXT, "audience_key": TEXT, "audience_id": TEXT, "entered_at": MOMENT},
    key=("canonical_segment_id", "audience_key"),
    owner="canonical_segment_id",
)
OF_PROFILES = (
    *(ID_GRAPH_UPDATES, EXTERNAL_ID_MAPPING_UPDATES, USER_TRAITS),
    *(USER_IDENTIFIERS, PROFILE_MERGES, AUDIENCE_MEMBERSHIPS),
)
OF_EVENT = {"id": TEXT, "segment_id": TEXT, "event_source_id": TEXT}
OF_CALL = {**OF_EVENT, "user_id": TEXT, "anonymous_id": TEXT, "received_at": MOMENT, "timestamp": MOMENT}
EVENT_KEY = ("event_source_id", "id")


def _of_calls(name: str, more: Mapping[str, str] = NOTHING) -> SyncTable:
    return SyncTable(name, {**OF_CALL, **more}, key=EVENT_KEY, owner="segment_id", wide=True)


PROFILE_TRAITS_UPDATES = SyncTable(
    "profile_traits_updates", {**OF_EVENT, **SEEN}, key=EVENT_KEY, owner="segment_id", wide=True
)
IDENTIFIES, GROUPS = _of_calls("identifies"), _of_calls("groups", {"group_id": TEXT})
PAGES, SCREENS = (_of_calls(name, {"name": TEXT, "category": TEXT}) for name in ("pages", "screens"))
ALIASES = _of_calls("aliases", {"previous_id": TEXT})
TRACKS = _of_calls("tracks", {"event": TEXT, "event_text": TEXT})
OF_TYPE = {
    "identify": IDENTIFIES,
    "page": PAGES,
    "screen": SCREENS,
    "group": GROUPS,
    "alias": ALIASES,
    "track": TRACKS,
}
OF_EVENTS = (PROFILE_TRAITS_UPDATES, *OF_TYPE.values())
TABLES = {table.name: table for table in (*OF_PROFILES, *OF_EVENTS)}
TRACK_TABLES = "track_events"  # chosen by this name: a table for each name of a track call


def track_table(name: str) -> SyncTable:
    """The table of the track calls of this name; names that look alike in letters and digits share one."""
    column = name_of(name)
    # An event called "Tracks" must not be written into the table of all track calls.
    return _of_calls(f"event_{column}" if column in TABLES else column, {"event": TEXT, "event_text": TEXT})


def table_of(name: str) -> SyncTable:
    """By the name that it has in the warehouse."""
    return TABLES.get(name) or _of_calls(name, {"event": TEXT, "event_text": TEXT})


@lru_cache(maxsize=10_000)  # the same few names stand on every event
def name_of(text: str) -> str:
    """As warehouses write a name: `Order Completed`, `orderCompleted` -> `order_completed`."""
    # Before letters become small, since they are what tells the words of orderCompleted apart.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    name = re.sub(r"[^\w]+", "_", words).strip("_").lower() or "event"
    # One that begins with a digit would have to be quoted wherever it is written.
    name = f"_{name}" if name[0].isdigit() else name
    if len(name.encode()) <= LONGEST_NAME and name != "event":
        return name
    # Two long names that begin alike stay two.
    cut = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
    return f"{cut}_{blake2b(text.encode(), digest_size=4).hexdigest()}"
