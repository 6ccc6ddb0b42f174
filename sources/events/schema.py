"""What the code needs of the event tables. They are made and changed by the numbered files in `migrations/`.

Every table: `workspace` first in the order key, and `piece`, the number under which its row was written.
No projections: rows are deleted from these tables, and a deleted row stays readable in a projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MOMENT = "DateTime64(3, 'UTC')"
WORD = "LowCardinality(String)"  # of few different values
MONTH = "toYYYYMM(ts)"


@dataclass(frozen=True)
class Table:
    """columns: name -> type in ClickHouse's own spelling, and DEFAULT or EPHEMERAL where it is such a column.

    log: the stage that writes it, and the column of the partition in whose log `piece` is a number.
    """

    name: str
    log: tuple[str, str]
    columns: Mapping[str, str] = field(hash=False)
    order: str
    partition: str = ""


OF_SPACE = {"workspace": "UInt32", "space": "UInt32", "piece": "UInt64"}
WRITTEN = {**OF_SPACE, "position": "UInt32", "profile": "UInt32"}
ORIGIN = {"source": "UInt32", "origin_piece": "UInt64", "origin_position": "UInt32"}

ARCHIVE = Table(
    name="archive",
    log=("archive", "source"),
    columns={
        "workspace": "UInt32",
        "source": "UInt32",
        "piece": "UInt64",
        "position": "UInt32",
        "ts": MOMENT,
        "received_at": MOMENT,
        "type": WORD,
        "event": "String",
        "message_id": "String",
        "message": "String",
    },
    order="workspace, source, piece, position",
    partition=MONTH,
)
TIMELINE = Table(
    name="timeline",
    log=("resolve", "space"),
    columns={
        **WRITTEN,
        **ORIGIN,
        "ts": MOMENT,
        "type": WORD,
        "event": WORD,
        "message_id": "String",
        "properties_text": "String EPHEMERAL",  # what an insert gives: Arrow goes into JSON without our SETTINGS
        "properties": "JSON(max_dynamic_paths=256) DEFAULT",
        "lists": "JSON(max_dynamic_paths=64) DEFAULT",
    },
    order="workspace, space, event, profile, ts",
    partition=MONTH,
)
PROFILE_EVENTS = Table(
    name="profile_events",
    log=("resolve", "space"),
    columns={
        **WRITTEN,
        **ORIGIN,
        "ts": MOMENT,
        "type": WORD,
        "event": WORD,
        "message_id": "String",
        "identifiers": f"Array(Tuple({WORD}, String))",
        "message": "String",
        # Where it was resolved first: what is resolved once more keeps its order.
        "first_piece": "UInt64 DEFAULT",
        "first_position": "UInt32 DEFAULT",
    },
    order="workspace, space, profile, ts",
    partition=MONTH,
)
TRAITS = Table(
    name="traits",
    log=("resolve", "space"),
    columns={**WRITTEN, **ORIGIN, "key": "String", "value": "String", "ts": MOMENT},
    order="workspace, space, key, profile, ts",
)  # value: JSON text; 'null' = the trait was removed
OVERLAY = Table(
    name="overlay",
    log=("resolve", "space"),
    columns={**OF_SPACE, "loser": "UInt32", "winner": "UInt32"},
    order="workspace, space, loser, piece",
)
PROFILES = Table(
    name="profiles",
    log=("resolve", "space"),
    columns={**OF_SPACE, "profile": "UInt32", "kind": "UInt8", "known": "UInt8"},
    order="workspace, space, profile",
)
LINKS = Table(
    name="links",
    log=("resolve", "space"),
    columns={**OF_SPACE, "user": "UInt32", "account": "UInt32"},
    order="workspace, space, account, user",
)  # a user belongs to an account: one row for ever, by the numbers that they had when it was seen
PLACES = Table(
    name="places",
    log=("resolve", "space"),
    columns={**WRITTEN, **ORIGIN, "identifiers": f"Array(Tuple({WORD}, String))"},
    order="workspace, space, piece, source, origin_piece, origin_position",
    partition="(space, piece)",
)  # while a batch copies rows of the archive: whose each is. A partition for each batch, dropped when they are copied
MEMBERSHIP_LOG = Table(
    name="membership_log",
    log=("evaluate", "space"),
    columns={
        **OF_SPACE,
        "audience": "UInt32",
        "profile": "UInt32",
        "at": MOMENT,
        "entered": "UInt8",
        "cause": WORD,
    },
    order="workspace, space, audience, profile, piece",
)
TRAIT_LOG = Table(
    name="trait_log",
    log=("evaluate", "space"),
    columns={
        **OF_SPACE,
        "trait": "UInt32",
        "profile": "UInt32",
        "at": MOMENT,
        "value": "String",
    },
    order="workspace, space, trait, profile, piece",
)  # value: JSON text; '' = there is none any more
DELIVERY_LOG = Table(
    name="delivery_log",
    log=("sync", "subscription"),
    columns={
        "workspace": "UInt32",
        "space": "UInt32",
        "subscription": "UInt32",
        "piece": "UInt64",
        "position": "UInt32",
        "at": MOMENT,
        "identifier": "UInt32",
        "profile": "UInt32",
        "entering": "UInt8",
        "message_id": "String",
        "outcome": WORD,
        "status": "UInt16",
        "milliseconds": "Float32",
        "request": "String",
        "response": "String",
        "reason": "String",
    },
    order="workspace, subscription, piece, position",
    partition="toYYYYMM(at)",
)
TABLES = (
    *(ARCHIVE, TIMELINE, PROFILE_EVENTS, TRAITS, OVERLAY, PROFILES, LINKS, PLACES),
    *(MEMBERSHIP_LOG, TRAIT_LOG, DELIVERY_LOG),
)
