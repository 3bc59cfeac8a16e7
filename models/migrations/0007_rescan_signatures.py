"""Have every version scanned anew: signatures that cannot be called and libraries are told since."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def forget_scans(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("models", "ModelVersion").objects.update(scan=None)


class Migration(migrations.Migration):
    dependencies = [("models", "0006_saved_with")]
    operations = [migrations.RunPython(forget_scans, migrations.RunPython.noop)]
