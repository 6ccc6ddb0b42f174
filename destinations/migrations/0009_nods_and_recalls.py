from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('destinations', '0008_sending'),
    ]

    operations = [
        migrations.AddField(
            model_name='subscription',
            name='capped_people',
            field=models.BigIntegerField(db_default=0, default=0, help_text='so many wait for a nod; 0 = nothing is held back'),
        ),
        migrations.AddField(
            model_name='subscription',
            name='nodded_tick',
            field=models.BigIntegerField(help_text='changes up to this one may go, however many they are', null=True),
        ),
        migrations.AddField(
            model_name='subscription',
            name='recalled_at',
            field=models.DateTimeField(help_text='since then nobody is to be there; null = they are', null=True),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='status',
            field=models.CharField(choices=[('waiting', 'Waiting for the audience'), ('syncing', 'Sending'), ('in_step', 'In step'), ('retrying', 'Retrying'), ('failing', 'Failing'), ('refused', 'Refused in part'), ('differs', 'Out of step'), ('parked', 'Parked'), ('capped', 'Waits for a nod'), ('suspended', 'Suspended'), ('disabled', 'Disabled')], default='waiting', max_length=10),
        ),
    ]
