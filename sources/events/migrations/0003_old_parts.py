"""What a part was merged from stays for eight minutes: it is taken back if the part turns out not to be whole."""

TABLES = "archive timeline profile_events traits overlay profiles membership_log delivery_log"


def apply(run, engine):
    for table in TABLES.split():
        run(f"ALTER TABLE {table} MODIFY SETTING old_parts_lifetime = 480")
