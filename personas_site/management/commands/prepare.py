"""`manage.py prepare`: the stores are ready for the application. Safe to run again, and by two at once."""

import os
from contextlib import suppress
from typing import Any

import redis
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, transaction
from psycopg2.sql import SQL, Identifier

from access.services import is_unowned, new_secret, sync_roles
from personas_site import budget, keys
from personas_site.embedded.paths import FIRST_LINK
from personas_site.health import CHECKS
from sources.events.migrate import SchemaError, migrate

LOCK = 0x706572736F6E6173  # "personas": one prepare at a time
GRANTS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
    "REVOKE UPDATE, DELETE ON access_auditentry FROM {role}",  # see access/migrations/0003
)
# What packages bring along and no page loads: to compress it took longer than anything else of a start.
UNUSED = ["redoc", "rest_framework", "guardian", "ext", "htmx-4*", "htmax-*", "*.rtl.*", "bootstrap-*"]


# What a store that drops keys of its own would drop: what waits in a queue, and marks of what was done.
LOSES = "allkeys-"


def _check_stores() -> None:
    """All three answer, and Redis keeps what it is given. Raises CommandError, which names the setting."""
    for setting, ask in (
        ("DATABASE_OWNER_URL", lambda: connections["owner"].ensure_connection()),
        ("CLICKHOUSE_URL", CHECKS["clickhouse"].run),
        ("REDIS_URL", CHECKS["redis"].run),
    ):
        try:
            ask()
        except Exception as error:  # its words may hold a password
            raise CommandError(f"the store at {setting} does not answer ({type(error).__name__})") from error
    with redis.Redis.from_url(settings.REDIS_CACHE_URL) as store, suppress(redis.RedisError):  # some forbid to ask
        policy = store.config_get("maxmemory-policy").get("maxmemory-policy", "")
        if policy.startswith(LOSES):
            raise CommandError(
                f"the store at REDIS_URL may drop queues: its maxmemory-policy is {policy}, not noeviction"
            )


class Command(BaseCommand):
    help = "Migrate PostgreSQL as its owner, let the application role use the tables, migrate the event tables"
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--static", action="store_true", help="also collect the static files")

    def handle(self, *args: Any, static: bool, verbosity: int, **options: Any) -> None:
        _check_stores()
        with connections["owner"].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            call_command("migrate", database="owner", verbosity=max(verbosity - 1, 0), interactive=False)
            if settings.DATABASE_URL != settings.DATABASE_OWNER_URL:
                role = Identifier(settings.DATABASES["default"]["USER"])
                with transaction.atomic("owner"):
                    for grant in GRANTS:
                        cursor.execute(SQL(grant).format(role=role))
            try:
                keys.write_down(cursor)
            except keys.OtherKeys as error:
                raise CommandError(str(error)) from error
            try:
                migrate()
            except SchemaError as error:
                raise CommandError(str(error)) from error
        try:
            budget.check_at_start()  # after the grants: before them the application's role may not even exist
        except (budget.TooFew, keys.OtherKeys) as error:
            raise CommandError(str(error)) from error
        sync_roles()  # a release may have given roles other permissions
        # While nobody has an account, the address of the page that makes the first one; `make up` shows it, too.
        link = settings.PERSONAS_HOME / FIRST_LINK
        link.unlink(missing_ok=True)
        if is_unowned():
            path = f"/welcome/{new_secret()}"
            # Readable by nobody else from the moment it is there: whoever has the link becomes the owner.
            with open(os.open(link, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                file.write(path)
            self.stdout.write(f"Nobody has an account yet. The first one is made at {path}")
        if static:
            call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=UNUSED)
        connections.close_all()
