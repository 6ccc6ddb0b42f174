"""The first owner of an installation: made by whoever has the link that a start prints while nobody has an account."""

from django.contrib.auth.password_validation import validate_password
from django.core import signing
from django.db import connection, transaction

from access.models import User
from access.services.audit import NotPossible
from access.services.workspaces import create_workspace
from spaces.models import Workspace

SALT = "access.first-owner"
DAYS = 7
LOCK = 0x6F776E6572  # "owner": one at a time
SPENT = "There is an owner already, or this link is too old. Whoever runs the console gets a new one by starting it."


def is_unowned() -> bool:
    """Whether nobody has an account yet."""
    return not User.objects.exists()


def new_secret() -> str:
    """For a link that works for a week, and only while nobody has an account."""
    return signing.dumps("", salt=SALT)


def is_valid(secret: str) -> bool:
    try:
        signing.loads(secret, salt=SALT, max_age=DAYS * 24 * 3600)
    except signing.BadSignature:
        return False
    return is_unowned()


def make_first_owner(secret: str, *, email: str, name: str, password: str, workspace: str) -> tuple[User, Workspace]:
    """The first account, and a workspace of its own. Raises NotPossible, or ValidationError for a weak password."""
    validate_password(password, User(email=email, name=name))
    with transaction.atomic():
        with connection.cursor() as cursor:  # of two who have the link, one becomes the owner
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if not is_valid(secret):  # once more under the lock: the other one may have been first
            raise NotPossible(SPENT)
        user = User.objects.create_user(email, password, name)
        return user, create_workspace(workspace, owner=user, by=user)
