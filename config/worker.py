"""The worker that runs queued jobs."""

import os

from rq import Queue
from rq import Worker as ForkingWorker
from rq.job import Job

from config.parent import die_with


class Worker(ForkingWorker):
    """Takes the process of its job with it, so that no half of a killed worker goes on."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        self.pid_before_fork = os.getpid()
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        die_with(self.pid_before_fork)
        super().main_work_horse(job, queue)
