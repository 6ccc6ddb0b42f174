#!/bin/sh
# The role that the application connects as. It owns nothing; `manage.py prepare` grants it the use of the tables.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$APP_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE personas_app LOGIN PASSWORD :'password';
SQL
