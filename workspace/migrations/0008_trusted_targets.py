"""Targets that are there already keep what they reach; their admins were trusted with it."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def trust_existing(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("workspace", "ComputeTarget").objects.update(is_trusted=True)


class Migration(migrations.Migration):
    dependencies = [("workspace", "0007_job_attempts")]

    operations = [
        migrations.AddField(
            model_name="computetarget",
            name="is_trusted",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(trust_existing, migrations.RunPython.noop),
    ]
