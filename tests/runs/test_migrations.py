"""Rows that an older version wrote stay readable after its migrations."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from models.models import ModelVersion
from runs.events import event_data
from runs.lifecycle import EndDetail
from runs.models import Run, RunEvent
from runs.pages.presentation import event_text
from runs.states import EndReason

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

BEFORE = ("runs", "0003_field_words")
SINCE = "2026-01-01T00:00:00+00:00"
HINT = {"title": "The program imports sklearn.", "remedy": "Add the package."}
OLD_EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("run.submitted", {"by": "bob"}),
    ("run.moved_in_queue", {"by": "alice", "place": 1}),
    ("run.moved_in_queue", {"by": "alice", "place": 2, "priority": 7}),
    ("run.requeue_requested", {"because": "preempted", "message": "It makes way for run 7."}),
    (
        "run.requeue_requested",
        {
            "because": "restart",
            "message": "Restart 1 of 1.",
            "end_reason": "not_responding",
            "process": "",
            "exit_code": None,
        },
    ),
    ("run.not_responding", {"since": SINCE, "because": "No route to host."}),
    ("run.responds_again", {"since": SINCE}),
    ("run.still", {"since": SINCE, "lines": {"worker-0": "step 1"}}),
    ("run.progresses_again", {"since": SINCE}),
    ("run.status_changed", {"from": "Running", "to": "Finalizing", "reason": "not_responding"}),
    ("metrics.refused", {"path": "logs/x", "message": "logs/x was not read whole."}),
]
NEW_WORDS = [
    "Submitted by bob.",
    "alice moved the run to position 1 of the queue.",
    "alice moved the run to position 2 of the queue, with priority 7.",
    "Preempted by a run of higher priority. It makes way for run 7.",
    "The attempt failed; the run restarts. Restart 1 of 1.",
    "The compute target is unreachable: No route to host.",
    "The compute target is reachable again.",
    "No progress: no new log output, file write or CPU use.",
    "Progress resumed.",
    "Running → Finalizing: the compute target is unreachable.",
    "Some metrics were not stored. logs/x was not read whole.",
]


@pytest.fixture
def migrated_back() -> Iterator[Apps]:
    """Migrate runs back; yield the models as they were; migrate all forward at the end."""
    executor = MigrationExecutor(connection)
    executor.migrate([BEFORE])
    yield apps_now()
    migrate_forward()


def apps_now() -> Apps:
    """Return the models that the tables have now."""
    loader = MigrationExecutor(connection).loader
    return loader.project_state(list(loader.applied_migrations)).apps


def migrate_forward() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def an_old_run(apps: Apps) -> int:
    team = apps.get_model("workspace", "Team").objects.create(name="t", slug="t")
    target = apps.get_model("workspace", "ComputeTarget").objects.create(
        team=team, name="local", kind="local"
    )
    experiment = apps.get_model("workspace", "Experiment").objects.create(team=team, name="e")
    snapshot = apps.get_model("runs", "Snapshot").objects.create(
        team=team, digest="d" * 64, file_count=1, total_bytes=1
    )
    run = apps.get_model("runs", "Run").objects.create(
        team=team,
        number=1,
        experiment=experiment,
        snapshot=snapshot,
        target=target,
        config={},
        status="Failed",
        end_reason="not_responding",
        end_detail={"message": "It was silent.", "process": "", "lines": ["x"], "cause": HINT},
    )
    events = apps.get_model("runs", "RunEvent").objects
    for seq, (kind, data) in enumerate(OLD_EVENTS, 1):
        events.create(run=run, seq=seq, type=kind, data=data)
    model = apps.get_model("models", "RegisteredModel").objects.create(team=team, name="m")
    apps.get_model("models", "ModelVersion").objects.create(
        model=model, version=1, run=run, manifest_digest="d" * 64, file_count=1, total_bytes=1
    )
    return int(run.pk)


def test_events_end_details_and_models_of_an_older_version_stay_readable(
    migrated_back: Apps,
) -> None:
    key = an_old_run(migrated_back)
    migrate_forward()

    run = Run.objects.get(pk=key)
    assert run.end_reason == EndReason.TARGET_UNREACHABLE
    assert EndDetail(**run.end_detail) == EndDetail("It was silent.", lines=["x"], hint=HINT)
    assert ModelVersion.objects.get().origin == {"run": 1, "experiment": "e", "snapshot": "d" * 64}
    stored = RunEvent.objects.order_by("seq")
    assert [event_text(event_data(event)) for event in stored] == NEW_WORDS

    MigrationExecutor(connection).migrate([BEFORE])
    old = apps_now().get_model("runs", "RunEvent").objects.order_by("seq")
    assert [(event.type, event.data) for event in old] == OLD_EVENTS
