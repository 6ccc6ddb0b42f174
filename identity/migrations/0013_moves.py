from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0012_change_readers"),
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
        migrations.AddField(
            model_name="profilesplit",
            name="lost",
            field=models.JSONField(
                db_default=[],
                default=list,
                help_text="[[number, source, piece, position], …] of profiles that begin nothing since it was done, and of the"
                " events with which they began: undone, they begin there again",
            ),
        ),
    ]
