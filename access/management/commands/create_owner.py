"""`manage.py create_owner`: the first user and the first workspace. Can be run again."""

import json
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from access import roles, services
from access.models import Membership, Token, User
from spaces.models import Workspace

TOKEN = "created with the owner"


class Command(BaseCommand):
    help = "Create an owner and a workspace, unless they are there; print an API token, and a password if it is new"

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email")
        parser.add_argument("workspace", help="name of the workspace")
        parser.add_argument("--name", default="", help="the person's name")
        parser.add_argument("--password", help="of a new account, or the new one of an old account; else generated")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        password: str | None = options["password"]
        with transaction.atomic():  # all of it, or nothing: it can be run again
            user = User.objects.filter(email__iexact=options["email"]).first()
            if user is None:
                password = password or secrets.token_urlsafe(12)
                user = User.objects.create_user(options["email"], password, options["name"])
            elif password:
                user.set_password(password)
                user.save(update_fields=["password"])
            named = list(Workspace.objects.filter(name=options["workspace"])[:2])
            if len(named) > 1:
                raise CommandError(f"There is more than one workspace called {options['workspace']!r}.")
            if named:
                workspace = named[0]
                Membership.objects.update_or_create(workspace=workspace, user=user, defaults={"role": roles.OWNER})
            else:
                workspace = services.create_workspace(options["workspace"], owner=user)
            # The secrets of the tokens of earlier runs are lost, so this run's token replaces them.
            for old in Token.objects.filter(workspace=workspace, user=user, name=TOKEN, revoked_at=None):
                services.revoke_token(old, by=services.COMMAND)
            _, secret = services.create_token(workspace, user, name=TOKEN, by=services.COMMAND)
        shown = {
            "email": user.email,
            "password": password,  # None: the account has the one that it had, which nobody can read
            "workspace": workspace.public_id,
            "workspace_slug": workspace.slug,
            "api_token": secret,
        }
        if options["json"]:
            self.stdout.write(json.dumps(shown))
            return
        for label, value in shown.items():
            if value:
                self.stdout.write(f"{label.replace('_', ' '):>14}: {value}")
