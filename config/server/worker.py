"""The worker that runs queued jobs."""

import os
from typing import Any

import django_rq
from rq import Queue
from rq import Worker as ForkingWorker
from rq.job import Job

from config.server.parent import die_with_parent
from workspace.platform.broker import JobQueue


class Worker(ForkingWorker):
    """Takes the process of its job with it, so that no half of a killed worker goes on.

    One that is started without the names of queues, by `manage.py rqworker`, takes from all.
    """

    def __init__(self, queues: list[Queue], *args: Any, **options: Any) -> None:
        if [queue.name for queue in queues] == [JobQueue.DEFAULT]:
            queues = [django_rq.get_queue(queue) for queue in JobQueue]
        super().__init__(queues, *args, **options)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        self.pid_before_fork = os.getpid()
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        die_with_parent(self.pid_before_fork)
        super().main_work_horse(job, queue)

    def procline(self, message: str) -> None:
        """Keep the title that the part has."""
