"""Rename types of run events, keys of their data, an end reason and a key of end details."""

from collections.abc import Iterator

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TYPES = {
    "run.not_responding": "run.target_unreachable",
    "run.responds_again": "run.target_reachable",
    "run.still": "run.hung",
    "run.progresses_again": "run.progress_resumed",
}
KEYS = {
    "run.target_unreachable": {"because": "reason"},
    "run.requeue_requested": {"because": "reason"},
    "run.moved_in_queue": {"place": "position"},
}
OLD_REASON, NEW_REASON = "not_responding", "target_unreachable"


def forward(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    events = apps.get_model("runs", "RunEvent").objects
    for old, new in TYPES.items():
        events.filter(type=old).update(type=new)
    for event in rows(events.filter(type__in=KEYS)):
        rename(event.data, KEYS[event.type])
        event.save(update_fields=["data"])
    change_reason(apps, OLD_REASON, NEW_REASON, {"cause": "hint"})


def backward(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    events = apps.get_model("runs", "RunEvent").objects
    for event in rows(events.filter(type__in=KEYS)):
        rename(event.data, {new: old for old, new in KEYS[event.type].items()})
        event.save(update_fields=["data"])
    for old, new in TYPES.items():
        events.filter(type=new).update(type=old)
    change_reason(apps, NEW_REASON, OLD_REASON, {"hint": "cause"})


def change_reason(apps: Apps, old: str, new: str, keys: dict[str, str]) -> None:
    """Rename an end reason where it stands: in runs and in their events."""
    runs = apps.get_model("runs", "Run").objects
    runs.filter(end_reason=old).update(end_reason=new)
    for key in keys:
        for run in rows(runs.filter(end_detail__has_key=key)):
            rename(run.end_detail, keys)
            run.save(update_fields=["end_detail"])
    events = apps.get_model("runs", "RunEvent").objects
    for type_, key in {
        "run.status_changed": "reason",
        "run.requeue_requested": "end_reason",
    }.items():
        for event in rows(events.filter(type=type_, **{f"data__{key}": old})):
            event.data[key] = new
            event.save(update_fields=["data"])


def rows(found: models.QuerySet) -> Iterator[models.Model]:
    """Yield rows that are changed while they are read."""
    for key in list(found.values_list("pk", flat=True)):
        yield found.model.objects.get(pk=key)


def rename(data: dict[str, object], keys: dict[str, str]) -> None:
    for old, new in keys.items():
        if old in data:
            data[new] = data.pop(old)


class Migration(migrations.Migration):
    dependencies = [("runs", "0003_field_words")]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="end_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("completed", "All required processes exited with code 0"),
                    ("canceled", "Canceled"),
                    ("environment_failed", "The environment could not be built"),
                    ("start_failed", "The processes could not be started"),
                    ("never_came_up", "A process did not start in time"),
                    ("process_failed", "A process failed"),
                    ("out_of_memory", "A process ran out of memory"),
                    ("lost", "A process disappeared"),
                    ("time_limit", "The maximum duration was reached"),
                    ("target_unreachable", "The compute target is unreachable"),
                    ("no_progress", "No progress for too long"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="requeue_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("preempted", "Preempted by a run of higher priority"),
                    ("restart", "The attempt failed; the run restarts"),
                ],
                max_length=12,
            ),
        ),
        migrations.RunPython(forward, backward),
    ]
