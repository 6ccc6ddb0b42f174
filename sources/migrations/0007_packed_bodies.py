"""Bodies in the inbox may be packed (sources.rules.packing); those that are there stay as they are.

Stored outside of the row as they come: to try to compress what is packed costs more than all the rest of the insert.
Backwards only with an empty inbox: without their lengths packed bodies could not be read.
"""

from django.db import migrations, models

EMPTY = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM sources_inbox WHERE length IS NOT NULL) THEN
        RAISE EXCEPTION 'the inbox holds packed bodies: let the archive take them first';
    END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("sources", "0006_deletions")]

    operations = [
        migrations.AddField(
            model_name="inbox",
            name="length",
            field=models.PositiveIntegerField(help_text="the body's, in bytes, where it is packed", null=True),
        ),
        migrations.AlterField(
            model_name="inbox",
            name="body",
            field=models.BinaryField(help_text="as received, decompressed; packed where it has a length"),
        ),
        migrations.RunSQL(
            "ALTER TABLE sources_inbox ALTER COLUMN body SET STORAGE EXTERNAL",
            f"{EMPTY}; ALTER TABLE sources_inbox ALTER COLUMN body SET STORAGE EXTENDED",
        ),
    ]
