"""The event tables. All DDL of ClickHouse is here, so that going from one machine to a cluster is a setting.

Every table: `workspace` first in the order key, and `piece`, the number under which its row was written.
No projections: rows are deleted from these tables, and a deleted row stays readable in a projection.
"""

from dataclasses import dataclass

ENGINE = "MergeTree"


@dataclass(frozen=True)
class Table:
    name: str
    columns: str
    order: str
    partition: str = ""
    settings: str = ""

    def ddl(self, engine: str = ENGINE) -> str:
        partition = f"PARTITION BY {self.partition} " if self.partition else ""
        settings = f" SETTINGS {self.settings}" if self.settings else ""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} ({self.columns}) ENGINE = {engine} "
            f"{partition}ORDER BY ({self.order}){settings}"
        )


FSYNC = "fsync_after_insert = 1, fsync_part_directory = 1"  # Publish deletes the only other copy
MONTH = "toYYYYMM(ts)"

ARCHIVE = Table(
    name="archive",
    columns="""
        workspace UInt32, source UInt32, piece UInt64, position UInt32,
        ts DateTime64(3, 'UTC'), received_at DateTime64(3, 'UTC'),
        type LowCardinality(String), event String, message_id String,
        message String CODEC(ZSTD(1)),
        INDEX by_time ts TYPE minmax GRANULARITY 1
    """,
    order="workspace, source, piece, position",
    partition=MONTH,
    settings=FSYNC,
)
TIMELINE = Table(
    name="timeline",
    columns="""
        workspace UInt32, space UInt32, piece UInt64, position UInt32, profile UInt32,
        source UInt32, origin_piece UInt64, origin_position UInt32,
        ts DateTime64(3, 'UTC'), type LowCardinality(String), event LowCardinality(String),
        message_id String,
        properties_text String EPHEMERAL '{}',
        properties JSON(max_dynamic_paths=256) DEFAULT CAST(properties_text AS JSON(max_dynamic_paths=256)),
        INDEX by_piece piece TYPE minmax GRANULARITY 1
    """,  # properties_text: what an insert gives; into a JSON column itself Arrow goes without our SETTINGS
    order="workspace, space, event, profile, ts",
    partition=MONTH,
    settings=FSYNC,
)
PROFILE_EVENTS = Table(
    name="profile_events",
    columns="""
        workspace UInt32, space UInt32, piece UInt64, position UInt32, profile UInt32,
        source UInt32, origin_piece UInt64, origin_position UInt32,
        ts DateTime64(3, 'UTC'), type LowCardinality(String), event LowCardinality(String),
        message_id String, identifiers Array(Tuple(LowCardinality(String), String)), message String CODEC(ZSTD(1))
    """,
    order="workspace, space, profile, ts",
    partition=MONTH,
    settings=FSYNC,
)
TRAITS = Table(
    name="traits",
    columns="""
        workspace UInt32, space UInt32, piece UInt64, position UInt32, profile UInt32,
        key String, value String, ts DateTime64(3, 'UTC'),
        source UInt32, origin_piece UInt64, origin_position UInt32
    """,  # value: JSON text; 'null' = the trait was removed
    order="workspace, space, key, profile, ts",
    settings=FSYNC,
)
OVERLAY = Table(
    name="overlay",
    columns="workspace UInt32, space UInt32, piece UInt64, loser UInt32, winner UInt32",
    order="workspace, space, loser, piece",
    settings=FSYNC,
)
PROFILES = Table(
    name="profiles",
    columns="workspace UInt32, space UInt32, piece UInt64, profile UInt32, kind UInt8, known UInt8",
    order="workspace, space, profile",
    settings=FSYNC,
)
MEMBERSHIP_LOG = Table(
    name="membership_log",
    columns="""
        workspace UInt32, space UInt32, piece UInt64, audience UInt32, profile UInt32,
        at DateTime64(3, 'UTC'), entered UInt8, cause LowCardinality(String)
    """,
    order="workspace, space, audience, profile, piece",
)
DELIVERY_LOG = Table(
    name="delivery_log",
    columns="""
        workspace UInt32, space UInt32, subscription UInt32, piece UInt64, position UInt32,
        at DateTime64(3, 'UTC'), identifier UInt32, profile UInt32, entering UInt8, message_id String,
        outcome LowCardinality(String), status UInt16, milliseconds Float32,
        request String CODEC(ZSTD(1)), response String CODEC(ZSTD(1)), reason String
    """,
    order="workspace, subscription, piece, position",
    partition="toYYYYMM(at)",
)
TABLES = (ARCHIVE, TIMELINE, PROFILE_EVENTS, TRAITS, OVERLAY, PROFILES, MEMBERSHIP_LOG, DELIVERY_LOG)
