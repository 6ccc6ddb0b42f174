from django.db import migrations, models


class Migration(migrations.Migration):
    """Names in Python only: tables and columns keep theirs."""

    dependencies = [("spaces", "0003_deletions")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("Piece", "Batch"),
                migrations.AlterModelTable("Batch", "spaces_piece"),
                migrations.AlterField(
                    "Batch",
                    "log",
                    models.ForeignKey(on_delete=models.deletion.CASCADE, related_name="batches", to="spaces.log"),
                ),
                migrations.RenameField("Batch", "decision", "prepared"),
                migrations.AlterField("Batch", "prepared", models.BinaryField(db_column="decision")),
                migrations.RenameField("Batch", "decided_at", "prepared_at"),
                migrations.AlterField(
                    "Batch", "prepared_at", models.DateTimeField(auto_now_add=True, db_column="decided_at")
                ),
                migrations.RemoveConstraint("Log", "one_log_per_stage_and_owner"),
                migrations.RenameField("Log", "owner", "partition"),
                migrations.AlterField(
                    "Log",
                    "partition",
                    models.BigIntegerField(db_column="owner", help_text="id of the source, space or subscription"),
                ),
                migrations.AddConstraint(
                    "Log",
                    models.UniqueConstraint(fields=("stage", "partition"), name="one_log_per_stage_and_owner"),
                ),
                migrations.RenameField("Log", "published", "committed"),
                migrations.AlterField(
                    "Log",
                    "committed",
                    models.BigIntegerField(db_column="published", default=0, help_text="the log's end"),
                ),
            ]
        )
    ]
