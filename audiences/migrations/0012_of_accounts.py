"""An audience, a computed trait, and a draft say whom they are about: people, as so far, or accounts."""

from django.db import migrations, models

WHOM = [("users", "People"), ("accounts", "Accounts")]


class Migration(migrations.Migration):
    dependencies = [("audiences", "0011_watched_traits")]

    operations = [
        migrations.AddField(
            model_name=model,
            name="of",
            field=models.CharField(choices=WHOM, db_default="users", default="users", max_length=8),
        )
        for model in ("audience", "draft")
    ]
