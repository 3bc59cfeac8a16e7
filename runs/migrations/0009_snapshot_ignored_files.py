from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0008_history_indexes")]

    operations = [
        migrations.AddField(
            model_name="snapshot",
            name="ignored_files",
            field=models.JSONField(default=list),
        ),
    ]
