from django.db import migrations

# Written at every request and worth nothing after a crash: no WAL, and room on each page for updates in place.
FORWARD = "ALTER TABLE core_allowance SET UNLOGGED; ALTER TABLE core_allowance SET (fillfactor = 50);"
BACKWARD = "ALTER TABLE core_allowance RESET (fillfactor); ALTER TABLE core_allowance SET LOGGED;"


class Migration(migrations.Migration):

    dependencies = [
        ('core', '0001_allowance'),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
