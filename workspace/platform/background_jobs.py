"""Jobs of workers that belong to a row: builds of environments, imports and exports of models.

The row decides, not the queue, which may lose a job or hold it twice: a row waits, one worker
claims it with a conditional UPDATE and keeps its heartbeat, and it ends as done or failed. Each
claim is an attempt with a number: what a worker that was taken for dead still does changes nothing.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import django_rq
from django.db import DatabaseError, close_old_connections, connection, models
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from workspace.platform import wakeup
from workspace.platform.broker import JobQueue
from workspace.platform.clock import Stillness
from workspace.platform.errors import DomainError

HEARTBEAT_SECONDS = 2.0
HEARTBEAT_TIMEOUT = timedelta(seconds=15)
SUPERSEDED = "This attempt was taken for dead and ends here; another one may be under way."
LogWriter = Callable[[bytes], None]
log = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job cannot be done; the text is for the person who asked for it."""


class JobPostponed(Exception):
    """The job cannot be done now: its row waits again, and shows the text."""


class JobRow(models.Model):
    """The row of a job: how often a worker claimed it, and when the last one was heard of."""

    attempt = models.PositiveIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


RowT = TypeVar("RowT", bound=JobRow)


@dataclass(frozen=True)
class JobKind(Generic[RowT]):
    """A table of jobs: what a worker calls with the primary key of a row, and the row's states.

    `expected_errors` have texts for people, as `JobFailed` has. A job that `is_wanted` no longer
    stops at its next line of log, which is then `canceled`. `on_end` are further columns to set.
    """

    model: type[RowT]
    queue: JobQueue
    function: str
    timeout_seconds: int
    waiting: str
    running: str
    done: str
    failed: str
    log_path: Callable[[RowT], Path]
    ended_at: str = "ended_at"
    expected_errors: tuple[type[Exception], ...] = ()
    is_wanted: Callable[[RowT], bool] | None = None
    canceled: str = ""
    on_end: Mapping[str, Any] = field(default_factory=dict)
    _heartbeats: Stillness = field(
        default_factory=lambda: Stillness(HEARTBEAT_TIMEOUT / 3), init=False, compare=False
    )

    def rows(self, state: str) -> QuerySet[RowT]:
        return self.model._default_manager.filter(state=state)

    def claim(self, pk: int) -> RowT | None:
        """Begin an attempt at the job of a row and return it, unless another worker has it."""
        row = self.rows(self.waiting).filter(pk=pk).first()
        if row is None:
            return None
        free = self.rows(self.waiting).filter(pk=pk, attempt=row.attempt)
        attempt = row.attempt + 1
        if not free.update(
            state=self.running, attempt=attempt, heartbeat_at=timezone.now(), error=""
        ):
            return None
        row.refresh_from_db()
        row.attempt = attempt
        return row

    def current(self, row: RowT) -> QuerySet[RowT]:
        """Return the row of an attempt, which is none once the attempt is taken for dead."""
        return self.rows(self.running).filter(pk=row.pk, attempt=row.attempt)

    def check_current(self, row: RowT) -> None:
        """Raise JobPostponed for an attempt that is taken for dead: it may change nothing more."""
        if not self.current(row).exists():
            raise JobPostponed(SUPERSEDED)

    def abandoned(self) -> list[RowT]:
        """Return the rows of jobs whose worker is gone, as seen by whoever asks all the time."""
        running = {(row.pk, row.attempt): row for row in self.rows(self.running)}
        still = self._heartbeats.look({key: row.heartbeat_at for key, row in running.items()})
        return [row for key, row in running.items() if still[key] >= HEARTBEAT_TIMEOUT]

    def take_from(self, abandoned: RowT, **changes: Any) -> bool:
        """Change the row of an abandoned job; return False where its worker was heard of since."""
        same = self.current(abandoned).filter(heartbeat_at=abandoned.heartbeat_at)
        return bool(same.update(**changes))

    def enqueue(self, pk: int) -> None:
        """Ask a worker for the job of a row."""
        job_id = f"{self.model.__name__.lower()}-{pk}"
        enqueue_once(
            self.queue, self.function, pk, job_id=job_id, timeout_seconds=self.timeout_seconds
        )


def enqueue_once(
    queue: JobQueue, function: str, *arguments: object, job_id: str, timeout_seconds: int
) -> None:
    """Ask a worker to call a function, unless the queue holds that; log an unreachable broker."""
    try:
        waiting = django_rq.get_queue(queue)
        if job_id not in waiting.get_job_ids():  # not by status, which a killed worker leaves
            waiting.enqueue(function, *arguments, job_id=job_id, job_timeout=timeout_seconds)
    except RedisError as error:
        log.warning("Job %s is not queued: the broker is unreachable: %s", job_id, error)


def run_job(
    kind: JobKind[RowT], pk: int, work: Callable[[RowT, LogWriter], Mapping[str, Any]]
) -> None:
    """Do the job of a row, unless another worker does or did; `work` returns columns to store."""
    row = kind.claim(pk)
    if row is None:
        return
    changes: dict[str, Any] = {}
    try:
        with _heartbeat(kind, row) as heartbeat, _job_log(kind, row, heartbeat) as write_log:
            changes = {**work(row, write_log), "state": kind.done}
    except JobPostponed as postponed:
        changes = {"state": kind.waiting, "error": str(postponed)}
    except Exception as error:  # a row left running would be taken for one whose worker died
        changes = {"state": kind.failed, "error": _message_of(error, kind, row)}
    finally:
        if changes:
            changes |= {"heartbeat_at": None, kind.ended_at: timezone.now(), **kind.on_end}
            if not kind.current(row).update(**changes):
                log.warning("%s, attempt %s: %s", row, row.attempt, SUPERSEDED)
            wakeup.send()


def _message_of(error: Exception, kind: JobKind[RowT], row: RowT) -> str:
    if isinstance(error, (JobFailed, DomainError, *kind.expected_errors)):
        return str(error)
    log.error("%s failed unexpectedly", row, exc_info=error)
    return f"Unexpected error: {str(error) or type(error).__name__}"


@dataclass
class _Heartbeat:
    """Whether a job is over, and why it has to stop (empty while it has not)."""

    is_over: threading.Event = field(default_factory=threading.Event)
    stop_reason: str = ""


@contextmanager
def _job_log(kind: JobKind[RowT], row: RowT, heartbeat: _Heartbeat) -> Iterator[LogWriter]:
    path = kind.log_path(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a former attempt may still write into its own
    with path.open("wb", buffering=0) as file:

        def write_log(chunk: bytes) -> None:
            file.write(chunk)
            if heartbeat.stop_reason:
                file.write(f"{heartbeat.stop_reason}\n".encode())
                raise JobPostponed

        yield write_log


@contextmanager
def _heartbeat(kind: JobKind[RowT], row: RowT) -> Iterator[_Heartbeat]:
    """Show that the job goes on, and yield what tells once it should not."""
    heartbeat = _Heartbeat()
    thread = threading.Thread(target=_beat, args=(kind, row, heartbeat), daemon=True)
    thread.start()
    try:
        yield heartbeat
    finally:
        heartbeat.is_over.set()
        thread.join()


def _beat(kind: JobKind[RowT], row: RowT, heartbeat: _Heartbeat) -> None:
    while not heartbeat.is_over.wait(HEARTBEAT_SECONDS):
        with suppress(DatabaseError):
            close_old_connections()
            if not kind.current(row).update(heartbeat_at=timezone.now()):
                heartbeat.stop_reason = SUPERSEDED
            elif kind.is_wanted is not None and not kind.is_wanted(row):
                heartbeat.stop_reason = kind.canceled
    connection.close()
