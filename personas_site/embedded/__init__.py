"""The three stores as part of the installation: PostgreSQL, ClickHouse and Valkey, started and watched by us.

Nothing outside `personas_site.settings`, `personas_site.up` and the tests knows that this folder exists: everyone
else sees DATABASE_URL, CLICKHOUSE_URL and REDIS_URL.
"""
