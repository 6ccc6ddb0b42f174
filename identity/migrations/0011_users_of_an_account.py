"""The users of an account are read a page at a time, in the order of their numbers."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("identity", "0010_notes")]

    operations = [
        AddIndexConcurrently(
            model_name="link", index=models.Index(fields=["space", "account", "user"], name="users_of_an_account")
        ),
        RemoveIndexConcurrently(model_name="link", name="links_of_an_account"),
    ]
