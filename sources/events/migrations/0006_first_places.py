"""Where each event was resolved first, so that what is resolved once more keeps its order.

Rows that are there already have it by default: it is where they stand.
"""


def apply(run, engine):
    run(
        "ALTER TABLE profile_events"
        " ADD COLUMN IF NOT EXISTS first_piece UInt64 DEFAULT piece,"
        " ADD COLUMN IF NOT EXISTS first_position UInt32 DEFAULT position"
    )
