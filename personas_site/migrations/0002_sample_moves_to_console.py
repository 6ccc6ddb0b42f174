from django.db import migrations


class Migration(migrations.Migration):
    """The table keeps its rows and gets the name that console's model asks for (console.0001_initial)."""

    dependencies = [("personas_site", "0001_sample")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.AlterModelTable("Sample", "console_sample")],
            state_operations=[migrations.DeleteModel("Sample")],
        )
    ]
