import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """The table is there already: personas_site made it, and its 0002 renames it."""

    initial = True
    dependencies = [("personas_site", "0002_sample_moves_to_console"), ("spaces", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name='Sample',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('state', models.CharField(choices=[('sending', 'Sending events'), ('archiving', 'Archiving them'), ('replaying', 'Replaying the last month'), ('ready', 'Ready')], default='sending', max_length=10)),
                        ('sources', models.JSONField(help_text='primary keys of its sources, by the name that the shop gives each')),
                        ('anchor', models.BigIntegerField(help_text='when its month ends, in ms since 1970; nothing of it is later')),
                        ('total', models.IntegerField(help_text='messages in all')),
                        ('sent', models.IntegerField(default=0, help_text='of these, in the order of their times, are in the inbox')),
                        ('space', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='sample', to='spaces.space')),
                        ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='spaces.workspace')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('workspace',), name='one_sample_per_workspace')],
                    },
                ),
            ]
        )
    ]
