from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("destinations", "0004_said_at"),
    ]

    operations = [
        migrations.RemoveField(
            model_name="subscription",
            name="external_id",
        ),
    ]
