"""Bring what scripts log as metrics into the database, while a run goes on and at its end."""

import fcntl
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import django_rq
from django.db import transaction
from django.db.models import Q
from redis.exceptions import RedisError

from runs import metrics_files
from runs.events import nudge_on_commit, record
from runs.files import LOGS, files_below, logs_folder
from runs.logs import folder_of
from runs.metrics_files import Scalar
from runs.models import MetricCursor, MetricPoint, MetricSeries, ProcessGroup, Run, RunEvent
from runs.selectors import latest_attempt

READ_BYTES = 8 * 1024 * 1024
BATCH = 1000
MOST_SERIES = 1000
LONGEST_NAME = 200
QUEUED_FOR = 60
# The cursor of a file whose rest cannot be read.
GIVEN_UP = 2**62
REFUSED = "metrics.refused"
log = logging.getLogger(__name__)


def enqueue_ingest(run_id: int) -> None:
    """Have a worker read a run's metrics soon; asking again before it has begun changes nothing.

    Without a broker nothing happens: what is not read now is read at the run's end.
    """
    try:
        queue = django_rq.get_queue()
        if queue.connection.set(_flag(run_id), 1, nx=True, ex=QUEUED_FOR):
            queue.enqueue(ingest_metrics, run_id, result_ttl=0)
    except RedisError as error:
        log.warning("Metrics of run %s will be read at its end: %s", run_id, error)


def ingest_metrics(run_id: int) -> None:
    """Read what is new of a run's metrics; one job a run works, another leaves it its share."""
    # Growth from here on gets a job of its own, so nothing stays unread.
    django_rq.get_connection().delete(_flag(run_id))
    run = Run.objects.filter(pk=run_id).first()
    group = latest_attempt(run) if run else None
    if run is None or group is None:
        return
    again = folder_of(group.label) / "metrics.again"
    while True:
        with _alone(group.label, waits=False) as is_alone:
            if not is_alone:
                again.touch()
                with _alone(group.label, waits=False) as is_free_by_now:
                    if not is_free_by_now:
                        return
                continue
            again.unlink(missing_ok=True)
            _catch_up(run, group, is_final=False)
        if not again.exists():
            return


def finish_metrics(run: Run) -> None:
    """Read the rest of a run's metrics; when it returns, all that can be read is stored."""
    group = latest_attempt(run)
    if group is not None:
        with _alone(group.label, waits=True):
            _catch_up(run, group, is_final=True)


def rewind(run_id: int, label: str, process: str, path: str) -> None:
    """Have a file that begins anew read from its start; points that it repeats are kept once."""
    cursors = MetricCursor.objects.filter(run_id=run_id, path=_key(label, process, path))
    for cursor in cursors.exclude(offset=0):
        cursors.update(offset=0, repeats_until=max(cursor.repeats_until, cursor.offset))


def _flag(run_id: int) -> str:
    return f"trainyard:metrics:{run_id}"


def _key(label: str, process: str, path: str) -> str:
    return f"{label}/{process}/{path}"


@contextmanager
def _alone(label: str, *, waits: bool) -> Iterator[bool]:
    folder = folder_of(label)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "metrics.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def _catch_up(run: Run, group: ProcessGroup, *, is_final: bool) -> None:
    names = [process.name for process in group.processes.all()]
    for name in names:
        shown_as = name if len(names) > 1 else ""
        for below, location, stat in files_below(logs_folder(group.label, name) / LOGS):
            path = f"{LOGS}/{below}"
            if metrics_files.holds_metrics(path):
                cursor, _ = MetricCursor.objects.get_or_create(
                    run=run, path=_key(group.label, name, path)
                )
                if cursor.offset < stat.st_size:
                    _FileReader(run, group, shown_as, path, location, cursor).read_on(is_final)


class _FileReader:
    """Reads one file on from its cursor, which moves with the points in one transaction."""

    def __init__(
        self,
        run: Run,
        group: ProcessGroup,
        process: str,
        path: str,
        location: Path,
        cursor: MetricCursor,
    ) -> None:
        self.run = run
        self.group = group
        self.process = process
        self.path = path
        self.location = location
        self.cursor = cursor
        series = MetricSeries.objects.filter(run=run, process=process)
        self.series = dict(series.values_list("name", "pk"))

    def read_on(self, is_final: bool) -> None:
        known = set(self.series)
        wanted = READ_BYTES
        while True:
            with self.location.open("rb") as file:
                data = os.pread(file.fileno(), wanted, self.cursor.offset)
                at_end = self.cursor.offset + len(data) >= os.fstat(file.fileno()).st_size
            reading = metrics_files.read(self.path, data, known=known, is_final=is_final and at_end)
            if reading.length == 0 and not reading.is_damaged:
                if at_end or wanted > metrics_files.LARGEST_RECORD:
                    return
                wanted *= 2
                continue
            end = GIVEN_UP if reading.is_damaged else self.cursor.offset + reading.length
            if not self._store(reading.scalars, end):
                return
            if reading.problem:
                self._refuse(f"{self.path} was not read whole: {reading.problem}.")
            if reading.is_damaged or at_end:
                return

    @transaction.atomic
    def _store(self, scalars: Sequence[Scalar], end: int) -> bool:
        """Store points and move the cursor; False when someone else has moved it."""
        moved = MetricCursor.objects.filter(pk=self.cursor.pk, offset=self.cursor.offset).update(
            offset=end
        )
        if not moved:
            return False
        points = self._points(scalars)
        if self.cursor.offset < self.cursor.repeats_until:
            points = self._new_among(points)
        MetricPoint.objects.bulk_create(points, batch_size=BATCH)
        self.cursor.offset = end
        if points:
            nudge_on_commit(self.group.channel, "metrics", self.process)
        return True

    def _points(self, scalars: Sequence[Scalar]) -> list[MetricPoint]:
        points = []
        for scalar in scalars:
            series = self.series.get(scalar.name) or self._new_series(scalar.name)
            if series is not None:
                at = scalar.at if 0 <= scalar.at <= metrics_files.LATEST else 0.0
                points.append(
                    MetricPoint(
                        series_id=series,
                        step=scalar.step,
                        at=datetime.fromtimestamp(at, UTC),
                        value=None if math.isnan(scalar.value) else scalar.value,
                    )
                )
        return points

    def _new_series(self, name: str) -> int | None:
        if len(name) > LONGEST_NAME or not name.isprintable():
            self._refuse(
                f"A metric in {self.path} has a name of {len(name)} characters,"
                f" beginning {name[:40]!r}: use up to {LONGEST_NAME}, all printable."
            )
            return None
        if MetricSeries.objects.filter(run=self.run).count() >= MOST_SERIES:
            self._refuse(
                f"The run has {MOST_SERIES:,} metrics already: {name[:40]!r} and what comes"
                " after it is not kept. Put what varies into the step, not the name."
            )
            return None
        series, _ = MetricSeries.objects.get_or_create(
            run=self.run, process=self.process, name=name
        )
        self.series[name] = series.pk
        return series.pk

    def _new_among(self, points: list[MetricPoint]) -> list[MetricPoint]:
        held = set(
            MetricPoint.objects.filter(series__in={point.series_id for point in points})
            .filter(Q(step__in={point.step for point in points}))
            .values_list("series_id", "step", "value")
        )
        return [p for p in points if (p.series_id, p.step, p.value) not in held]

    def _refuse(self, message: str) -> None:
        """Tell the run's readers once per file what is left out, and why."""
        told = RunEvent.objects.filter(run=self.run, type=REFUSED, data__path=self.path)
        if not told.exists():
            record(self.run, REFUSED, path=self.path, message=message)
