"""`manage.py sync_roles`: the groups of roles have the permissions that access.roles defines. Can be run again."""

from typing import Any

from django.core.management.base import BaseCommand

from access.services import sync_roles


class Command(BaseCommand):
    help = "Write the permissions of each role in a space onto its groups"

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{sync_roles()} groups in step")
