from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def note_origins(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    versions = apps.get_model("models", "ModelVersion").objects.filter(run__isnull=False)
    for version in versions.select_related("run__experiment", "run__snapshot").iterator():
        version.origin = {
            "run": version.run.number,
            "experiment": version.run.experiment.name,
            "snapshot": version.run.snapshot.digest,
        }
        version.save(update_fields=["origin"])


class Migration(migrations.Migration):
    dependencies = [
        ("models", "0007_rescan_signatures"),
        ("runs", "0011_names_tags_deletion"),
    ]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="origin",
            field=models.JSONField(default=dict),
        ),
        migrations.RunPython(note_origins, migrations.RunPython.noop),
    ]
