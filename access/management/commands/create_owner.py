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
        with transaction.atomic():  # all of it, or nothing: it can be run again
            created = _create(options["email"], options["workspace"], options["name"], options["password"])
        if options["json"]:
            self.stdout.write(json.dumps(created))
            return
        for label, value in created.items():
            if value:
                self.stdout.write(f"{label.replace('_', ' '):>14}: {value}")


def _create(email: str, workspace_name: str, name: str, password: str | None) -> dict[str, str | None]:
    """What to print. password is None when the account existed and no new password was given."""
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        password = password or secrets.token_urlsafe(12)
        user = User.objects.create_user(email, password, name)
    elif password:
        user.set_password(password)
        user.save(update_fields=["password"])
    named = list(Workspace.objects.filter(name=workspace_name)[:2])
    if len(named) > 1:
        raise CommandError(f"There is more than one workspace called {workspace_name!r}.")
    if named:
        workspace = named[0]
        Membership.objects.update_or_create(workspace=workspace, user=user, defaults={"role": roles.OWNER})
    else:
        workspace = services.create_workspace(workspace_name, owner=user)
    # The secrets of the tokens of earlier runs are lost, so this run's token replaces them.
    for old in Token.objects.filter(workspace=workspace, user=user, name=TOKEN, revoked_at=None):
        services.revoke_token(old, by=services.COMMAND)
    _, secret = services.create_token(workspace, user, name=TOKEN, by=services.COMMAND)
    return {
        "email": user.email,
        "password": password,
        "workspace": workspace.public_id,
        "workspace_slug": workspace.slug,
        "api_token": secret,
    }
