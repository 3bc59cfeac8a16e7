"""How the rest of a run's metrics is read: by a worker, which the supervisor never waits for."""

from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.utils import timezone
from redis import Redis
from rq import SimpleWorker

from runs.files.quota import quota_owner
from runs.files.store import append_log_file
from runs.metrics import files, ingestion
from runs.metrics.series import series_of
from runs.models import MetricChunk, ProcessGroup, Run
from runs.states import RunStatus
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import Submit, bring_up, end, leave, processes, tick
from workspace.platform.broker import JobQueue

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
POINTS = 200


@pytest.fixture
def ended(submit: Submit, backend: FakeBackend, broker: Redis) -> Run:
    """Return a run whose program has ended and has logged what nobody read yet."""
    run = bring_up(submit())
    [process] = processes(run)
    lines = b"".join(b'{"step": %d, "loss": 1}\n' % step for step in range(POINTS))
    append_log_file(quota_owner(process.group), process.name, "logs/metrics.jsonl", 0, lines)
    end(process)
    leave(run, backend)
    return run


def points_of(run: Run) -> int:
    return sum(series.total for series in series_of(run, names_only=True))


def work() -> None:
    """Do what is queued of metrics, as a worker does."""
    queue = django_rq.get_queue(JobQueue.METRICS)
    SimpleWorker([queue], connection=queue.connection).work(burst=True)


def test_a_run_waits_for_its_metrics_and_the_tick_reads_none(ended: Run) -> None:
    assert tick(ended).status == RunStatus.FINALIZING
    assert not MetricChunk.objects.exists()
    assert ProcessGroup.objects.get().removed_at is not None  # its share of the target is free
    work()
    assert tick(ended).status == RunStatus.COMPLETED
    assert points_of(ended) == POINTS


def test_a_run_ends_without_a_worker_and_its_metrics_are_read_later(ended: Run) -> None:
    tick(ended)
    ProcessGroup.objects.update(metrics_requested_at=timezone.now() - 2 * ingestion.AWAITED_FOR)
    assert tick(ended).status == RunStatus.COMPLETED
    work()
    assert points_of(ended) == POINTS


def test_a_run_ends_without_a_broker(ended: Run, broker: Redis, settings) -> None:
    settings.RQ_QUEUES = {"metrics": {"URL": "unix:///nonexistent/valkey.sock"}}
    assert tick(ended).status == RunStatus.FINALIZING
    ProcessGroup.objects.update(metrics_requested_at=timezone.now() - 2 * ingestion.AWAITED_FOR)
    assert tick(ended).status == RunStatus.COMPLETED


def test_what_the_queue_lost_is_asked_for_again(ended: Run, broker: Redis) -> None:
    tick(ended)
    broker.flushall()
    ProcessGroup.objects.update(metrics_requested_at=timezone.now() - timedelta(hours=2))
    tick(ended)
    work()
    assert points_of(ended) == POINTS
    broker.flushall()
    ingestion.request_unread_metrics_again()
    assert broker.llen("rq:queue:metrics") == 0


def test_a_run_that_logged_nothing_waits_for_no_worker(
    submit: Submit, backend: FakeBackend, broker: Redis
) -> None:
    run = bring_up(submit())
    for process in processes(run):
        end(process)
    leave(run, backend)
    assert tick(run).status == RunStatus.COMPLETED


def test_the_rest_is_read_by_the_job_that_is_at_it_already(
    ended: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that reads as the run ends reads what is left too, and no other worker waits for it."""
    tick(ended)
    jobs: list[str] = []
    read_files = files.read

    def read(*args: Any, **how: Any) -> files.FileScalars:
        if not jobs:
            jobs.append("the second")
            work()
            assert not MetricChunk.objects.exists()
        return read_files(*args, **how)

    monkeypatch.setattr(files, "read", read)
    ingestion.ingest_metrics(ended.pk)
    assert jobs
    assert points_of(ended) == POINTS
    assert ProcessGroup.objects.get().metrics_read_at is not None
