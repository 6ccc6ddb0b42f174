"""`manage.py restore FOLDER`: the stores as they were when `manage.py backup` made the folder."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from personas_site.backup import FAILURES, restore
from personas_site.embedded.supervisor import stores_running


class Command(BaseCommand):
    help = "Fill empty stores with what `backup` copied; nothing else may run"
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--replace", action="store_true", help="what the stores hold now goes, for good")

    def handle(self, *args: Any, folder: Path, replace: bool, **options: Any) -> None:
        try:
            with stores_running(self.stdout.write, may_run=False):
                restore(folder.absolute(), replace=replace, say=self.stdout.write)
        except FAILURES as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            "All of it is back. What came in after the backup was made is not: senders may send it again."
        )
