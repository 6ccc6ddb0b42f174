-- The event tables as the first release made them, before migrations were numbered.
CREATE TABLE IF NOT EXISTS archive ( workspace UInt32, source UInt32, piece UInt64, position UInt32, ts
    DateTime64(3, 'UTC'), received_at DateTime64(3, 'UTC'), type LowCardinality(String), event String, message_id
    String, message String CODEC(ZSTD(1)), INDEX by_time ts TYPE minmax GRANULARITY 1 ) ENGINE = MergeTree
    PARTITION BY toYYYYMM(ts) ORDER BY (workspace, source, piece, position) SETTINGS fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS timeline ( workspace UInt32, space UInt32, piece UInt64, position UInt32, profile
    UInt32, source UInt32, origin_piece UInt64, origin_position UInt32, ts DateTime64(3, 'UTC'), type
    LowCardinality(String), event LowCardinality(String), message_id String, properties_text String EPHEMERAL '{}',
    properties JSON(max_dynamic_paths=256) DEFAULT CAST(properties_text AS JSON(max_dynamic_paths=256)), INDEX
    by_piece piece TYPE minmax GRANULARITY 1 ) ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (workspace,
    space, event, profile, ts) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS profile_events ( workspace UInt32, space UInt32, piece UInt64, position UInt32, profile
    UInt32, source UInt32, origin_piece UInt64, origin_position UInt32, ts DateTime64(3, 'UTC'), type
    LowCardinality(String), event LowCardinality(String), message_id String, identifiers
    Array(Tuple(LowCardinality(String), String)), message String CODEC(ZSTD(1)) ) ENGINE = MergeTree PARTITION BY
    toYYYYMM(ts) ORDER BY (workspace, space, profile, ts) SETTINGS fsync_after_insert = 1, fsync_part_directory =
    1;

CREATE TABLE IF NOT EXISTS traits ( workspace UInt32, space UInt32, piece UInt64, position UInt32, profile UInt32,
    key String, value String, ts DateTime64(3, 'UTC'), source UInt32, origin_piece UInt64, origin_position UInt32 )
    ENGINE = MergeTree ORDER BY (workspace, space, key, profile, ts) SETTINGS fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS overlay (workspace UInt32, space UInt32, piece UInt64, loser UInt32, winner UInt32)
    ENGINE = MergeTree ORDER BY (workspace, space, loser, piece) SETTINGS fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS profiles (workspace UInt32, space UInt32, piece UInt64, profile UInt32, kind UInt8,
    known UInt8) ENGINE = MergeTree ORDER BY (workspace, space, profile) SETTINGS fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS membership_log ( workspace UInt32, space UInt32, piece UInt64, audience UInt32, profile
    UInt32, at DateTime64(3, 'UTC'), entered UInt8, cause LowCardinality(String) ) ENGINE = MergeTree ORDER BY
    (workspace, space, audience, profile, piece);

CREATE TABLE IF NOT EXISTS delivery_log ( workspace UInt32, space UInt32, subscription UInt32, piece UInt64,
    position UInt32, at DateTime64(3, 'UTC'), identifier UInt32, profile UInt32, entering UInt8, message_id String,
    outcome LowCardinality(String), status UInt16, milliseconds Float32, request String CODEC(ZSTD(1)), response
    String CODEC(ZSTD(1)), reason String ) ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (workspace,
    subscription, piece, position);
