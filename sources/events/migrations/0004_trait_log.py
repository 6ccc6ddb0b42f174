"""The values of computed traits: a row whenever one of a person changes. '' = there is none any more."""


def apply(run, engine):
    run(f"""
        CREATE TABLE IF NOT EXISTS trait_log (
            workspace UInt32, space UInt32, piece UInt64, trait UInt32, profile UInt32,
            at DateTime64(3, 'UTC'), value String
        ) ENGINE = {engine} ORDER BY (workspace, space, trait, profile, piece)
        SETTINGS old_parts_lifetime = 480
    """)
