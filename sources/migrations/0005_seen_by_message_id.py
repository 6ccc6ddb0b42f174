"""A message id counts as seen whatever time the message claims, and for a while from when it was archived.

By the week of its archiving, so that what is old is dropped as whole tables; an id is looked up in the few weeks that
there are. That no id is in two of them is seen to by `sources.archive`, which is alone with a source's log when it
looks and inserts. All that was seen so far counts as seen this week. Backwards, the day of a message is no longer
known, so that only messages without a time of their own keep theirs.
"""

from importlib import import_module

from django.db import migrations

BY_DAY = import_module("sources.migrations.0002_seen")

MAKE = """
ALTER TABLE sources_seen RENAME TO sources_seen_by_day;
ALTER TABLE sources_seen_by_day RENAME CONSTRAINT sources_seen_pkey TO sources_seen_by_day_pkey;
DROP FUNCTION sources_seen_prepare();

CREATE TABLE sources_seen (
    workspace_id bigint NOT NULL,
    source_id bigint NOT NULL,
    week date NOT NULL,
    hash uuid NOT NULL,
    PRIMARY KEY (source_id, hash, week)
) PARTITION BY LIST (week);
COMMENT ON COLUMN sources_seen.week IS 'the Monday of the week in which the message was archived';
COMMENT ON COLUMN sources_seen.hash IS 'the first 16 bytes of BLAKE2b of the message id';
CREATE TABLE sources_seen_rest PARTITION OF sources_seen DEFAULT;

-- The application owns no table, so it can neither make nor drop a partition; it may call this. A week that already
-- has rows among the rest stays there: PostgreSQL refuses a partition for it. Who works on the table is waited for a
-- moment only, since everybody else would wait behind; the next call comes in a day.
DO $do$ BEGIN EXECUTE format($make$
CREATE FUNCTION sources_seen_prepare(days_kept integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = %1$I, pg_temp SET lock_timeout = '5s' AS $body$
DECLARE
    this date := date_trunc('week', current_date);
    oldest date := current_date - greatest(days_kept, 1) - 6;
    one date;
    old text;
    changed integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sources_seen_prepare'));
    FOREACH one IN ARRAY ARRAY[this, this + 7] LOOP
        CONTINUE WHEN to_regclass('sources_seen_week_' || to_char(one, 'YYYYMMDD')) IS NOT NULL
            OR EXISTS (SELECT FROM sources_seen_rest rest WHERE rest.week = one);
        EXECUTE format('CREATE TABLE sources_seen_week_%%s PARTITION OF sources_seen FOR VALUES IN (%%L)',
            to_char(one, 'YYYYMMDD'), one);
        changed := changed + 1;
    END LOOP;
    FOR old IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sources_seen'::regclass
        AND inhrelid::regclass::text ~ '^sources_seen_week_[0-9]{8}$'
        AND to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') < oldest
    LOOP
        EXECUTE format('DROP TABLE %%I', old);
        changed := changed + 1;
    END LOOP;
    DELETE FROM sources_seen_rest WHERE week < oldest;
    RETURN changed;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $body$ $make$, current_schema()); END $do$;
"""
COPY = """
SELECT sources_seen_prepare(30);
INSERT INTO sources_seen (workspace_id, source_id, week, hash)
SELECT DISTINCT workspace_id, source_id, date_trunc('week', current_date)::date, hash FROM sources_seen_by_day;
DROP TABLE sources_seen_by_day;
"""
UNMAKE = """
ALTER TABLE sources_seen RENAME TO sources_seen_by_week;
ALTER TABLE sources_seen_by_week RENAME CONSTRAINT sources_seen_pkey TO sources_seen_by_week_pkey;
DROP FUNCTION sources_seen_prepare(integer);
"""
UNCOPY = """
INSERT INTO sources_seen (workspace_id, source_id, day, hash)
SELECT DISTINCT workspace_id, source_id, date '1970-01-01', hash FROM sources_seen_by_week;
DROP TABLE sources_seen_by_week;
"""


class Migration(migrations.Migration):
    dependencies = [("sources", "0004_rejects_where_from")]
    operations = [migrations.RunSQL(MAKE + COPY, UNMAKE + BY_DAY.MAKE + UNCOPY)]
