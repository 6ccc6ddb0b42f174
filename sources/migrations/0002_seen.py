"""Which message ids were archived, by the day of the message's own time, so that a retry is found there alone.

Not a model: it is partitioned, and only `sources.archive` writes it. No foreign keys: nothing is ever looked up
through them, and each costs a look into another table for every message; deleting a source deletes its rows.
"""

from django.db import migrations

MAKE = """
CREATE TABLE sources_seen (
    workspace_id bigint NOT NULL,
    source_id bigint NOT NULL,
    day date NOT NULL,
    hash uuid NOT NULL,
    PRIMARY KEY (source_id, hash, day)
) PARTITION BY RANGE (day);
COMMENT ON COLUMN sources_seen.hash IS 'the first 16 bytes of BLAKE2b of the message id';
CREATE TABLE sources_seen_odd PARTITION OF sources_seen DEFAULT;

-- The application owns no table, so it cannot make a partition; it may call this, which takes no argument.
-- A day that already has rows among the odd ones stays there: PostgreSQL refuses a partition for it.
DO $do$ BEGIN EXECUTE format($make$
CREATE FUNCTION sources_seen_prepare() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = %1$I, pg_temp AS $body$
DECLARE
    one date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sources_seen_prepare'));
    FOR one IN SELECT d::date FROM generate_series(current_date - 35, current_date + 2, interval '1 day') d LOOP
        CONTINUE WHEN to_regclass(format('sources_seen_%%s', to_char(one, 'YYYYMMDD'))) IS NOT NULL
            OR EXISTS (SELECT FROM sources_seen_odd odd WHERE odd.day = one);
        EXECUTE format('CREATE TABLE sources_seen_%%s PARTITION OF sources_seen FOR VALUES FROM (%%L) TO (%%L)',
            to_char(one, 'YYYYMMDD'), one, one + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END $body$ $make$, current_schema()); END $do$;
SELECT sources_seen_prepare();
"""
UNMAKE = "DROP FUNCTION sources_seen_prepare(); DROP TABLE sources_seen;"


class Migration(migrations.Migration):
    dependencies = [("sources", "0001_initial")]
    operations = [migrations.RunSQL(MAKE, UNMAKE)]
