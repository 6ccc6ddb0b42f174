from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audiences', '0010_sql_traits'),
    ]

    operations = [
        migrations.AddField(
            model_name='audience',
            name='watched_traits',
            field=models.JSONField(db_default=[], default=list, help_text='traits whose change is told to destinations, though nobody enters or leaves'),
        ),
    ]
