"""Who belongs to an account is found without a look at everybody's links."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("identity", "0006_change_sets")]

    operations = [
        AddIndexConcurrently(
            model_name="link", index=models.Index(fields=["space", "account"], name="links_of_an_account")
        ),
    ]
