"""`manage.py backup FOLDER`: PostgreSQL and ClickHouse as of one moment, while everything runs."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from personas_site.backup import FAILURES, KEYS, backup
from personas_site.embedded.supervisor import stores_running


class Command(BaseCommand):
    help = "Copy PostgreSQL and ClickHouse, as of one moment, into a new folder; everything may go on meanwhile"
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--keys", action="store_true", help=f"with {' and '.join(KEYS)}: whoever has it, has all")

    def handle(self, *args: Any, folder: Path, keys: bool, **options: Any) -> None:
        try:
            with stores_running(self.stdout.write, may_run=True):
                backup(folder.absolute(), with_keys=keys, say=self.stdout.write)
        except FAILURES as error:
            raise CommandError(str(error)) from error
        without = "" if keys else f" Keep {' and '.join(KEYS)}, too: without them no destination's secrets can be read."
        self.stdout.write(f"The backup is in {folder}.{without}")
