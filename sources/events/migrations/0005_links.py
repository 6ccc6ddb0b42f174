"""Which users belong to which accounts. So far only PostgreSQL knew; the group calls that said so are still there.

Each such call stands on the page of its user and on that of its account. Rows that are inserted twice do no harm: whoever
reads asks for different pairs.
"""

KNOWN = """
    SELECT DISTINCT calls.workspace, calls.space, calls.piece, calls.profile, accounts.profile
    FROM (SELECT * FROM profile_events WHERE type = 'group') AS calls
    JOIN (
        SELECT workspace, space, piece, position, profile FROM profile_events
        WHERE type = 'group' AND (workspace, space, profile) IN (
            SELECT workspace, space, profile FROM profiles WHERE kind = 2
        )
    ) AS accounts USING (workspace, space, piece, position)
    WHERE calls.profile != accounts.profile
"""


def apply(run, engine):
    run(f"""
        CREATE TABLE IF NOT EXISTS links (
            workspace UInt32, space UInt32, piece UInt64, user UInt32, account UInt32
        ) ENGINE = {engine} ORDER BY (workspace, space, account, user)
        SETTINGS old_parts_lifetime = 480
    """)
    run(f"INSERT INTO links (workspace, space, piece, user, account) {KNOWN}")
