from django.db import migrations


class Migration(migrations.Migration):
    """A name in Python only: the table keeps its own."""

    dependencies = [("identity", "0005_plans_for_new_spaces")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("Touch", "ChangeSet"),
                migrations.AlterModelTable("ChangeSet", "identity_touch"),
            ]
        )
    ]
