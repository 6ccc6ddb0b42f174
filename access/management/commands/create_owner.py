"""`manage.py create_owner`: the first person, and the first workspace. Safe to run again."""

import json
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import QuerySet

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
        with transaction.atomic():
            made = _create(options["email"], options["workspace"], options["name"], options["password"])
        if options["json"]:
            self.stdout.write(json.dumps(made))
            return
        for label, value in made.items():
            if value:
                self.stdout.write(f"{label.replace('_', ' '):>14}: {value}")


def _create(email: str, workspace_name: str, name: str, password: str | None) -> dict[str, str | None]:
    """What was made. `password` is null when the account was there and none was given."""
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        password = password or secrets.token_urlsafe(12)
        user = User.objects.create_user(email, password, name)
    elif password:
        user.set_password(password)
        user.save(update_fields=["password"])
    workspace = _workspace(workspace_name, user)
    for old in _made_before(workspace, user):
        services.revoke_token(old, by=services.COMMAND)
    _, secret = services.create_token(workspace, user, name=TOKEN, by=services.COMMAND)
    return {
        "email": user.email,
        "password": password,
        "workspace": workspace.public_id,
        "workspace_slug": workspace.slug,
        "api_token": secret,
    }


def _made_before(workspace: Workspace, user: User) -> "QuerySet[Token]":
    """The tokens that earlier runs made: their secrets are lost, so this run replaces them."""
    return Token.objects.filter(workspace=workspace, user=user, name=TOKEN, revoked_at=None)


def _workspace(name: str, user: User) -> Workspace:
    """The workspace of this name, owned by the user; a second one of the same name is never made."""
    found = list(Workspace.objects.filter(name=name)[:2])
    if len(found) > 1:
        raise CommandError(f"There is more than one workspace called {name!r}.")
    if not found:
        return services.create_workspace(name, owner=user)
    owner = {"role": roles.OWNER}
    Membership.objects.update_or_create(workspace=found[0], user=user, defaults=owner)
    return found[0]
