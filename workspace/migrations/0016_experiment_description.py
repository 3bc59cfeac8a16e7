from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workspace", "0015_keep_runs")]

    operations = [
        migrations.AddField(
            model_name="experiment",
            name="description",
            field=models.TextField(blank=True, default=""),
            preserve_default=False,
        ),
    ]
