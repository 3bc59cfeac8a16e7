"""A deleted run is out of sight at once, and a worker takes away all that was kept of it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from deploy import maintenance
from models.models import ModelVersion
from runs import deletion
from runs.files.folders import run_folder
from runs.logs.log_file import log_of
from runs.metrics import store
from runs.metrics.points import Point
from runs.models import (
    MetricChunk,
    MetricSeries,
    ProcessGroup,
    Run,
    RunEvent,
    RunFile,
    Snapshot,
    UsageSample,
)
from runs.services import delete_run, submit_run
from runs.source.blobs import store_for
from runs.source.cleanup import KEPT_FOR, remove_unused_uploads
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot
from runs.states import RunStatus
from tests.factories import bearer, make_run, make_target
from tests.models.registry import make_version
from tests.runs.ingest.runner_calls import running
from workspace.models import AuditEntry, Team

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    """The attempt of a run that is over, of which everything is kept that can be."""
    group = running(team, "worker-0")
    run, process = group.run, group.processes.get()
    assert run is not None
    log_of(group.label, "worker-0").append(0, b"loss 0.3\n")
    outputs = run_folder(run.pk) / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "model.keras").write_bytes(b"weights")
    RunFile.objects.create(run=run, path="outputs/model.keras", process=process, size_bytes=7)
    series = MetricSeries.objects.create(run=run, name="loss")
    store.append({series.pk: [Point(1, 0, 0.3)]})
    UsageSample.objects.create(process=process, cpus=1, memory_bytes=1)
    RunEvent.objects.create(run=run, seq=100, type="run.hung")
    ProcessGroup.objects.filter(pk=group.pk).update(removed_at=timezone.now())
    Run.objects.filter(pk=run.pk).update(status=RunStatus.COMPLETED, ended_at=timezone.now())
    return group


@pytest.fixture
def run(group: ProcessGroup) -> Run:
    return Run.objects.get(attempts=group)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep what workers are asked for, instead of asking them."""
    asked: list[Any] = []
    monkeypatch.setattr(deletion, "enqueue_once", lambda *call, **_: asked.append(call[2]))
    return asked


def delete(client: Client, user: User, run: Run) -> Any:
    address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}"
    return client.delete(address, headers=bearer(user))


def test_a_deleted_run_leaves_nothing_but_its_number(
    client: Client, run: Run, group: ProcessGroup, bob: User, jobs: list[Any]
) -> None:
    assert delete(client, bob, run).status_code == 204
    shown = client.get(f"/api/v1/teams/default/runs/{run.number}", headers=bearer(bob))
    assert shown.status_code == 404
    assert jobs == [run.pk]
    deletion.finish_deletion(run.pk)
    for rows in (Run, ProcessGroup, RunFile, MetricSeries, MetricChunk, UsageSample, RunEvent):
        assert not rows.objects.exists(), rows
    assert not run_folder(run.pk).exists()
    assert not log_of(group.label, "worker-0").path.exists()
    assert AuditEntry.objects.get(action="run.delete").subject == f"run {run.number}"


def test_a_model_still_tells_which_run_it_is_from(
    client: Client, run: Run, bob: User, jobs: list[Any]
) -> None:
    origin = {"run": run.number, "experiment": run.experiment.name, "snapshot": "d" * 64}
    version = make_version(run.team, bob)
    ModelVersion.objects.update(run=run, origin=origin)
    client.force_login(bob)
    page = f"/t/default/models/digits/versions/{version.version}/"
    assert f"/t/default/runs/{run.number}/" in client.get(page).content.decode()
    delete_run(run, by=bob)
    for is_gone in (False, True):
        if is_gone:
            deletion.finish_deletion(run.pk)
        shown = client.get(page).content.decode()
        assert f"run {run.number}, deleted" in shown
        assert f"/t/default/runs/{run.number}/" not in shown
        asked = client.get("/api/v1/teams/default/models/digits/versions/1")
        assert asked.json()["run"] == run.number


def test_a_run_stays_while_its_files_cannot_be_removed(
    run: Run, bob: User, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_run(run, by=bob)
    with monkeypatch.context() as patch:
        patch.setattr("runs.deletion.shutil.rmtree", lambda *_, **__: None)
        deletion.finish_deletions()
        assert Run.objects.filter(pk=run.pk).exists()
    deletion.finish_deletions()
    assert not Run.objects.filter(pk=run.pk).exists()


def test_a_number_is_never_used_again(run: Run, bob: User, jobs: list[Any]) -> None:
    delete_run(run, by=bob)
    deletion.finish_deletion(run.pk)
    digest, size = store_for(run.team).put_stream(b"print()")
    manifest = Manifest.of([ManifestEntry("train.py", digest, size)])
    snapshot = create_snapshot(team=run.team, by=bob, manifest=manifest)
    make_target(run.team, "other")
    config = {"experiment": "e", "entry_script": "train.py", "compute_target": "other"}
    after = submit_run(team=run.team, by=bob, snapshot=snapshot, config=config)
    assert after.number == run.number + 1


def test_a_run_that_is_not_over_stays(client: Client, team: Team, bob: User) -> None:
    answer = delete(client, bob, make_run(team, bob))
    assert answer.status_code == 409
    assert "cancel it first" in answer.json()["detail"]


def test_a_run_stays_while_another_resumes_from_it(client: Client, run: Run, bob: User) -> None:
    resumed = make_run(run.team, bob, resumed_from=run)
    assert delete(client, bob, run).status_code == 409
    Run.objects.filter(pk=resumed.pk).update(status=RunStatus.FAILED)
    assert delete(client, bob, run).status_code == 204
    deletion.finish_deletion(run.pk)
    resumed.refresh_from_db()
    assert resumed.resumed_from is None


def test_the_daily_maintenance_takes_away_what_no_worker_did(
    run: Run, bob: User, jobs: list[Any]
) -> None:
    delete_run(run, by=bob)
    assert deletion.finish_deletions in maintenance.STEPS
    deletion.finish_deletions()
    assert not Run.objects.exists()


def test_a_run_whose_target_may_hold_processes_waits_for_it(
    run: Run, group: ProcessGroup, bob: User, jobs: list[Any]
) -> None:
    ProcessGroup.objects.filter(pk=group.pk).update(removed_at=None)
    delete_run(run, by=bob)
    deletion.finish_deletions()
    assert ProcessGroup.objects.filter(pk=group.pk).exists()
    ProcessGroup.objects.filter(pk=group.pk).update(removed_at=timezone.now())
    deletion.finish_deletions()
    assert not ProcessGroup.objects.exists()


def test_the_source_of_a_deleted_run_goes_a_day_later_where_no_other_run_has_it(
    run: Run, bob: User, jobs: list[Any]
) -> None:
    sources = []
    for content in (b"print(1)", b"print(2)"):
        digest, size = store_for(run.team).put_stream(content)
        manifest = Manifest.of([ManifestEntry("train.py", digest, size)])
        sources.append(create_snapshot(team=run.team, by=bob, manifest=manifest))
    Run.objects.filter(pk=run.pk).update(snapshot=sources[0])
    delete_run(run, by=bob)
    deletion.finish_deletion(run.pk)
    remove_unused_uploads(also_in_use=lambda team: [])
    assert Snapshot.objects.filter(pk=sources[0].pk).exists()
    Snapshot.objects.update(uploaded_at=timezone.now() - KEPT_FOR - timedelta(minutes=1))
    make_run(run.team, bob, snapshot=sources[1])
    remove_unused_uploads(also_in_use=lambda team: [])
    assert not Snapshot.objects.filter(pk=sources[0].pk).exists()
    assert Snapshot.objects.filter(pk=sources[1].pk).exists()
