import django.utils.timezone
from django.db import migrations, models


def were_changed_when_created(apps, schema_editor):
    apps.get_model("workspace", "Experiment").objects.update(changed_at=models.F("created_at"))


class Migration(migrations.Migration):
    dependencies = [("workspace", "0016_experiment_description")]

    operations = [
        migrations.AddField(
            model_name="experiment",
            name="archived_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="experiment",
            name="changed_at",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.AddField(
            model_name="experiment", name="tags", field=models.JSONField(default=dict)
        ),
        migrations.RunPython(were_changed_when_created, migrations.RunPython.noop),
    ]
