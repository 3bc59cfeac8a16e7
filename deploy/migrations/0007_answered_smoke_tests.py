from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def note_answers(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """A revision that was verified without a notice on its smoke test answered it."""
    verified = apps.get_model("deploy", "Revision").objects.exclude(verified_at=None)
    verified.exclude(notice__icontains="smoke test").update(has_answered=True)


class Migration(migrations.Migration):
    dependencies = [
        ("deploy", "0006_allowed_origins"),
    ]

    operations = [
        migrations.AddField(
            model_name="revision",
            name="has_answered",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(note_answers, migrations.RunPython.noop),
    ]
