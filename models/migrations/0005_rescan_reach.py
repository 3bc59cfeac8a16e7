"""Have every version scanned anew: what reaches beyond a model is told since."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def forget_scans(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("models", "ModelVersion").objects.update(scan=None)


class Migration(migrations.Migration):
    dependencies = [("models", "0004_job_attempts")]
    operations = [migrations.RunPython(forget_scans, migrations.RunPython.noop)]
