"""Whose the rows of a replay's batch are, for as long as it copies them from the archive: then its partition is dropped.

Not synced to the disk: a batch that finds none of it is written anew.
"""


def apply(run, engine):
    run(f"""
        CREATE TABLE IF NOT EXISTS places (
            workspace UInt32, space UInt32, piece UInt64, position UInt32, profile UInt32,
            source UInt32, origin_piece UInt64, origin_position UInt32,
            identifiers Array(Tuple(LowCardinality(String), String))
        ) ENGINE = {engine} PARTITION BY (space, piece)
        ORDER BY (workspace, space, piece, source, origin_piece, origin_position)
        SETTINGS old_parts_lifetime = 1
    """)
