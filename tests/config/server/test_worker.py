"""Which worker takes jobs of which queue."""

import django_rq
import pytest
from redis import Redis

from config.server.parts import WORKERS
from config.server.worker import Worker
from workspace.platform.broker import JobQueue

SHORT = {JobQueue.DEFAULT, JobQueue.METRICS}


@pytest.mark.parametrize("kind", [*sorted(SHORT), JobQueue.BUILDS, JobQueue.CONVERSIONS])
def test_no_kind_of_job_waits_for_the_long_jobs_of_another(kind: JobQueue) -> None:
    assert any(kind in queues and set(queues) <= SHORT | {kind} for queues in WORKERS.values())


def test_every_queue_has_a_worker_and_the_maintenance_comes_last() -> None:
    assert {queue for queues in WORKERS.values() for queue in queues} == set(JobQueue)
    assert all(JobQueue.MAINTENANCE not in queues[:-1] for queues in WORKERS.values())


@pytest.mark.parametrize(
    ("named", "taken"),
    [
        (["default"], set(JobQueue)),
        (["metrics"], {"metrics"}),
        (["default", "metrics"], {"default", "metrics"}),
    ],
)
def test_a_worker_without_the_names_of_queues_takes_from_all(
    named: list[str], taken: set[str], broker: Redis
) -> None:
    queues = [django_rq.get_queue(name) for name in named]
    worker = Worker(queues, connection=broker, prepare_for_work=False)
    assert {queue.name for queue in worker.queues} == taken
