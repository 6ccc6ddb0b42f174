"""The application's role may add entries to the audit trail and read them. It forgets old ones by a function alone.

What takes the rights away is `manage.py prepare`, which knows the role.
"""

from django.db import migrations

MAKE = """
DO $do$ BEGIN EXECUTE format($make$
CREATE FUNCTION access_forget_audit(older timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = %1$I, pg_temp AS $body$
DECLARE
    gone bigint;
BEGIN
    -- Whoever has taken the application over cannot call it to cover that.
    DELETE FROM access_auditentry WHERE at < least(older, now() - interval '30 days');
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $body$ $make$, current_schema()); END $do$;
"""


class Migration(migrations.Migration):
    dependencies = [("access", "0002_accounts_and_addresses")]
    operations = [migrations.RunSQL(MAKE, "DROP FUNCTION access_forget_audit")]
