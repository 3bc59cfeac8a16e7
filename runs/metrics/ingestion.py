"""Bring what scripts log as metrics into the database, while a run goes on and at its end."""

import fcntl
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import django_rq
from django.db import transaction
from django.utils import timezone
from redis.exceptions import RedisError

from runs.events import MetricsRefused, nudge_on_commit, record
from runs.files.folders import files_below, logs_folder
from runs.files.store import LOGS
from runs.logs.log_file import folder_of
from runs.metrics import files, store
from runs.metrics.files import Scalar
from runs.metrics.points import Point, by_series
from runs.metrics.series_limits import MAX_NAME_LENGTH, WAY_OUT, SeriesRoom
from runs.models import MetricCursor, MetricSeries, ProcessGroup, Run, RunEvent
from runs.selectors import latest_attempt
from workspace.platform import wakeup
from workspace.platform.background_jobs import enqueue_once
from workspace.platform.broker import JobQueue
from workspace.platform.clock import age_of

READ_BYTES = 8 * 1024 * 1024
MICROSECONDS = 1_000_000
QUEUED_FOR = 60
FINISH_JOB = "runs.metrics.ingestion.finish_metrics"
FINISH_SECONDS = 3600
# A run ends without the rest of its metrics when no worker has read them by then.
AWAITED_FOR = timedelta(seconds=10)
REQUESTED_AGAIN_FOR = timedelta(days=1)
REQUESTED_AT_ONCE = 100
# The cursor of a file whose rest cannot be read.
FILE_ABANDONED = 2**62
log = logging.getLogger(__name__)


def enqueue_ingest(run_id: int) -> None:
    """Have a worker read a run's metrics soon; asking again before it has begun changes nothing.

    Without a broker nothing happens: what is not read now is read at the run's end.
    """
    try:
        queue = django_rq.get_queue(JobQueue.METRICS)
        if queue.connection.set(_flag(run_id), 1, nx=True, ex=QUEUED_FOR):
            queue.enqueue(ingest_metrics, run_id, result_ttl=0)
    except RedisError as error:
        log.warning("Metrics of run %s will be read at its end: %s", run_id, error)


def ingest_metrics(run_id: int) -> None:
    """Read what is new of a run's metrics; one job a run works, another leaves it its share."""
    # Growth from here on gets a job of its own, so nothing stays unread.
    django_rq.get_connection(JobQueue.METRICS).delete(_flag(run_id))
    run = Run.objects.filter(pk=run_id).first()
    group = latest_attempt(run) if run else None
    if run is None or group is None:
        return
    _read_on(run, group, is_over=False)


def _read_on(run: Run, group: ProcessGroup, *, is_over: bool) -> None:
    """Read what is new of an attempt, unless another job does, which then does this one's share."""
    again = folder_of(group.label) / "metrics.again"
    while True:
        with _lock_run(group.label) as is_alone:
            if not is_alone:
                again.touch()
                with _lock_run(group.label) as is_free_by_now:
                    if not is_free_by_now:
                        return
                continue
            again.unlink(missing_ok=True)
            group.refresh_from_db(fields=["metrics_requested_at"])
            is_final = is_over or group.metrics_requested_at is not None
            _catch_up(run, group, is_final=is_final)
            if is_final:
                ProcessGroup.objects.filter(pk=group.pk).update(metrics_read_at=timezone.now())
                wakeup.send()
        if not again.exists():
            return


def are_metrics_read(group: ProcessGroup) -> bool:
    """Return whether the metrics of an attempt that is over are stored, or took too long.

    The first time, a worker is asked to read the rest of them.
    """
    if group.metrics_requested_at is None:
        request_rest_of_metrics(group)
    if group.metrics_read_at is not None or group.metrics_requested_at is None:
        return True
    return age_of(group.metrics_requested_at) > AWAITED_FOR


def request_rest_of_metrics(group: ProcessGroup) -> None:
    """Have a worker read the rest of the metrics of an attempt, if it may have any."""
    names = group.processes.all()
    if any((logs_folder(group.label, process.name) / LOGS).exists() for process in names):
        group.metrics_requested_at = timezone.now()
        group.save(update_fields=["metrics_requested_at"])
        _enqueue_finish(group.pk)


def request_unread_metrics_again() -> None:
    """Ask again for what workers were asked to read and have not, as when the queue lost it."""
    asked = ProcessGroup.objects.filter(
        metrics_requested_at__gt=timezone.now() - REQUESTED_AGAIN_FOR, metrics_read_at=None
    )
    oldest = asked.order_by("metrics_requested_at").values_list("pk", flat=True)
    for pk in oldest[:REQUESTED_AT_ONCE]:
        _enqueue_finish(pk)


def finish_metrics(group_id: int) -> None:
    """Read the rest of an attempt's metrics; then all that can be read is stored."""
    unread = ProcessGroup.objects.filter(pk=group_id, metrics_read_at=None, run__isnull=False)
    group = unread.select_related("run").first()
    if group is not None and group.run is not None:
        _read_on(group.run, group, is_over=True)


def _enqueue_finish(group_id: int) -> None:
    enqueue_once(
        JobQueue.METRICS,
        FINISH_JOB,
        group_id,
        job_id=f"metrics-{group_id}",
        timeout_seconds=FINISH_SECONDS,
    )


def reset_cursor(run_id: int, label: str, process: str, path: str) -> None:
    """Have a file that begins anew read from its start; points that it repeats are kept once."""
    cursors = MetricCursor.objects.filter(run_id=run_id, path=_key(label, process, path))
    for cursor in cursors.exclude(offset=0):
        cursors.update(offset=0, repeats_until=max(cursor.repeats_until, cursor.offset))


def _flag(run_id: int) -> str:
    return f"trainyard:metrics:{run_id}"


def _key(label: str, process: str, path: str) -> str:
    return f"{label}/{process}/{path}"


@contextmanager
def _lock_run(label: str) -> Iterator[bool]:
    folder = folder_of(label)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "metrics.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def _catch_up(run: Run, group: ProcessGroup, *, is_final: bool) -> None:
    names = [process.name for process in group.processes.all()]
    room = SeriesRoom(run)
    for name in names:
        shown_as = name if len(names) > 1 else ""
        held = MetricSeries.objects.filter(run=run, process=shown_as)
        series = dict(held.values_list("name", "pk"))
        for below, location, stat in files_below(logs_folder(group.label, name) / LOGS):
            path = f"{LOGS}/{below}"
            if files.holds_metrics(path):
                cursor, _ = MetricCursor.objects.get_or_create(
                    run=run, path=_key(group.label, name, path)
                )
                if cursor.offset < stat.st_size:
                    reader = _FileReader(run, group, shown_as, path, location, cursor, series, room)
                    reader.read_on(is_final)


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
        series: dict[str, int],
        room: SeriesRoom,
    ) -> None:
        self.run = run
        self.group = group
        self.process = process
        self.path = path
        self.location = location
        self.cursor = cursor
        self.series = series
        self.room = room
        self.left_out: set[str] = set()

    def read_on(self, is_final: bool) -> None:
        known = set(self.series)
        wanted = READ_BYTES
        while True:
            with self.location.open("rb") as file:
                data = os.pread(file.fileno(), wanted, self.cursor.offset)
                at_end = self.cursor.offset + len(data) >= os.fstat(file.fileno()).st_size
            reading = files.read(self.path, data, known=known, is_final=is_final and at_end)
            if reading.length == 0 and not reading.is_damaged:
                if at_end or wanted > files.LARGEST_RECORD:
                    return
                wanted *= 2
                continue
            end = FILE_ABANDONED if reading.is_damaged else self.cursor.offset + reading.length
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
        points = self._without_earlier_attempts(self._points(scalars))
        if self.cursor.offset < self.cursor.repeats_until:
            points = _new_among(points)
        store.append(points)
        self.cursor.offset = end
        if points:
            nudge_on_commit(self.group.channel, "metrics", self.process)
        return True

    def _points(self, scalars: Sequence[Scalar]) -> dict[int, list[Point]]:
        rows = []
        for scalar in scalars:
            series = self.series.get(scalar.name) or self._new_series(scalar.name)
            if series is not None:
                at = scalar.at if 0 <= scalar.at <= files.LATEST else 0.0
                rows.append((series, Point(scalar.step, round(at * MICROSECONDS), scalar.value)))
        return by_series(rows)

    def _new_series(self, name: str) -> int | None:
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            self._refuse(
                f"A metric in {self.path} has a name of {len(name)} characters,"
                f" beginning {name[:40]!r}: use up to {MAX_NAME_LENGTH}, all printable."
            )
            return None
        if not self.room.has_room_for(name):
            if name not in self.left_out:
                self.left_out.add(name)
                if self.room.note_left_out(self.process, [name]):
                    self._refuse(
                        f"The run has too many metrics: {name[:40]!r} and others are not kept."
                        f" The tab Metrics says how many. {WAY_OUT}"
                    )
            return None
        series, _ = MetricSeries.objects.get_or_create(
            run=self.run, process=self.process, name=name
        )
        self.series[name] = series.pk
        self.room.take(name)
        return series.pk

    def _without_earlier_attempts(self, points: dict[int, list[Point]]) -> dict[int, list[Point]]:
        """Drop what an earlier attempt has from the step on at which a later one goes on."""
        attempt = self.group.attempt
        for key, series in store.lock_series(list(points)).items():
            low, first = min(point.step for point in points[key]), series.first_step
            if series.attempt > attempt and first is not None:
                points[key] = [point for point in points[key] if point.step < first]
            elif series.attempt < attempt or (first is not None and low < first):
                store.remove(series, low, first if series.attempt == attempt else None)
                series.attempt, series.first_step = attempt, low
                series.save(update_fields=["attempt", "first_step"])
        return {key: some for key, some in points.items() if some}

    def _refuse(self, message: str) -> None:
        """Record once per file that metrics of it are not stored, and why."""
        known = RunEvent.objects.filter(run=self.run, type=MetricsRefused.type)
        if not known.filter(data__path=self.path).exists():
            record(self.run, MetricsRefused(path=self.path, message=message))


def _new_among(points: dict[int, list[Point]]) -> dict[int, list[Point]]:
    """Return the points that are not stored yet, whatever their times."""
    new = {}
    for key, some in points.items():
        steps = [point.step for point in some]
        held = {_step_and_value(point) for point in store.read(key, min(steps), max(steps))}
        new[key] = [point for point in some if _step_and_value(point) not in held]
    return {key: some for key, some in new.items() if some}


def _step_and_value(point: Point) -> tuple[int, float | None]:
    return point.step, None if math.isnan(point.value) else point.value
