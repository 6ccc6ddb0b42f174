from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0011_users_of_an_account"),
        ("spaces", "0007_replaced"),
    ]

    operations = [
        migrations.AddField(
            model_name="profilesplit",
            name="moved_to",
            field=models.JSONField(
                db_default=[],
                default=list,
                help_text="[[type, value]] of the profile that has `taken` from then on; [] = none",
            ),
        ),
    ]
