from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('destinations', '0007_remembered_values'),
    ]

    operations = [
        migrations.AddField(
            model_name='subscription',
            name='sending',
            field=models.JSONField(db_default={}, default=dict, help_text='of whom what is sent, as rules.sending.SendingRules has it'),
        ),
        migrations.AddField(
            model_name='acknowledged',
            name='fields',
            field=models.TextField(db_default='', help_text="that went besides with the newest call: JSON text; '' = none"),
        ),
    ]
