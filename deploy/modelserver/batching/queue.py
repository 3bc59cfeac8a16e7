"""Dynamic batching: requests of one signature that wait at the same time run as one.

One scheduler and its threads serve every queue in turn; each signature of each version has a
queue. Where the original blocks a thread for each waiting request, `submit` blocks none.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic

import numpy as np

from ..errors import Code, ServingError, invalid
from ..monitoring import Metrics
from ..tensors.arrays import Array
from .parameters import PER_MODEL_FILE, BatchingParameters, check, read_parameters
from .tensors import check_rows, merge

log = logging.getLogger("modelserver")

Outcome = list[Array] | ServingError
Done = Callable[[Outcome], None]
Run = Callable[[list[Array], int | None], list[Array]]

# Failures of a batch that may be one request's fault.
_RETRY_ALONE_CODES = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.OUT_OF_RANGE,
        Code.FAILED_PRECONDITION,
        Code.DATA_LOSS,
        Code.NOT_FOUND,
    }
)


class BatchTask:
    """The feeds of one request, or of a part of one that was split."""

    __slots__ = ("done", "ends_at", "feeds", "queued_at", "size")

    def __init__(self, feeds: list[Array], size: int, seconds: float, done: Done) -> None:
        self.feeds = feeds
        self.size = size
        self.done = done
        self.queued_at = monotonic()
        self.ends_at = self.queued_at + seconds


class Batch:
    """Tasks that will run together."""

    __slots__ = ("queue", "size", "tasks")

    def __init__(self, queue: "BatchQueue") -> None:
        self.queue = queue
        self.tasks: list[BatchTask] = []
        self.size = 0

    def add(self, task: BatchTask) -> None:
        self.tasks.append(task)
        self.size += task.size


class Scheduler:
    """The threads that run batches, and the queues they take them from, each in its turn."""

    def __init__(self, threads: int, name: str) -> None:
        self.changed = threading.Condition()
        self._queues: deque[BatchQueue] = deque()
        for index in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True).start()

    def add(self, queue: "BatchQueue") -> None:
        with self.changed:
            self._queues.append(queue)

    def remove(self, queue: "BatchQueue") -> None:
        with self.changed:
            self._queues.remove(queue)

    def _work(self) -> None:
        while True:
            batch = self._next()
            try:
                batch.queue.process(batch)
            except Exception as error:
                log.exception("A batch could not be processed")
                failure = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
                _complete(batch.tasks, [failure] * len(batch.tasks))

    def _next(self) -> Batch:
        with self.changed:
            while True:
                now = monotonic()
                soonest: float | None = None
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    ready_at = queue.ready_at()
                    if ready_at is None:
                        continue
                    if ready_at <= now:
                        return queue.take()
                    soonest = ready_at if soonest is None else min(soonest, ready_at)
                self.changed.wait(None if soonest is None else soonest - now)


class BatchingOptions:
    """What --enable_batching asks for: common parameters, or those that a version brings."""

    def __init__(self, common: BatchingParameters, metrics: Metrics, *, per_model: bool) -> None:
        self._metrics = metrics
        self._scheduler = Scheduler(max(1, common.num_batch_threads), common.thread_pool_name)
        self._common = common
        self._per_model = per_model

    def parameters_for(self, version: Path) -> BatchingParameters | None:
        """Return how a version is batched, None where it isn't."""
        if not self._per_model:
            parameters = self._common
        elif (version / PER_MODEL_FILE).is_file():
            parameters = read_parameters(version / PER_MODEL_FILE)
        else:
            return None
        check(parameters)
        return parameters

    def queue(
        self, parameters: BatchingParameters, names: Sequence[str], run: Run, *, timeout_ms: int
    ) -> "BatchQueue":
        """Make the queue of one signature, which feeds tensors of these names in their order."""
        return BatchQueue(
            self._scheduler,
            parameters,
            names,
            run,
            metrics=self._metrics,
            timeout_ms=timeout_ms,
        )


class BatchQueue:
    """What waits for one signature of one version."""

    def __init__(
        self,
        scheduler: Scheduler,
        parameters: BatchingParameters,
        names: Sequence[str],
        run: Run,
        *,
        metrics: Metrics,
        timeout_ms: int = 0,
    ) -> None:
        self._scheduler = scheduler
        self._parameters = parameters
        self._names = names
        self._run = run
        self._metrics = metrics
        self._timeout_ms = timeout_ms
        self._wait = parameters.batch_timeout_micros / 1e6
        self._batches: deque[Batch] = deque()
        scheduler.add(self)

    def close(self) -> None:
        """Leave the scheduler; nothing waits any more."""
        self._scheduler.remove(self)

    def run(self, feeds: list[Array], timeout_ms: int | None = None) -> list[Array]:
        """Submit, and wait for the results."""
        finished = threading.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            finished.set()

        self.submit(feeds, done, timeout_ms)
        finished.wait()
        [outcome] = outcomes
        if isinstance(outcome, ServingError):
            # Others may hold the same error, and a traceback belongs to one raise.
            raise ServingError(outcome.code, outcome.message)
        return outcome

    def submit(self, feeds: list[Array], done: Done, timeout_ms: int | None = None) -> None:
        """Queue a request; `done` is called on a thread of the scheduler."""
        limit_ms = self._timeout_ms if timeout_ms is None else timeout_ms
        seconds = limit_ms / 1000 if limit_ms else inf
        size = self._size_of(feeds)
        for _ in feeds:
            self._metrics.batch_input(size)
        changed = self._scheduler.changed
        with changed:
            room = self._room()
            if size > room and not self._may_enqueue(size, room):
                raise ServingError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full;"
                    f" it holds {len(self._batches)} batches, max_enqueued_batches is"
                    f" {self._parameters.max_enqueued_batches}",
                )
            for task in self._tasks(feeds, size, room, seconds, done):
                if task.size > self._room():
                    self._batches.append(Batch(self))
                self._batches[-1].add(task)
            changed.notify()

    def ready_at(self) -> float | None:
        """Return when the first batch may run, None where there is none; the lock is held."""
        if not self._batches:
            return None
        first = self._batches[0]
        if len(self._batches) > 1 or first.size >= self._parameters.execution_size:
            return 0.0
        return first.tasks[0].queued_at + self._wait

    def take(self) -> Batch:
        """Return the first batch, which takes no more tasks; the lock is held."""
        return self._batches.popleft()

    def process(self, batch: Batch) -> None:
        """Run a batch and tell each of its tasks the outcome."""
        tasks = batch.tasks
        now = monotonic()
        for task in tasks:
            self._metrics.observe_queueing(self._parameters.thread_pool_name, now - task.queued_at)
        if all(task.ends_at <= now for task in tasks):
            late = "Run() timeout exceeded while waiting in batching queue"
            _complete(tasks, [ServingError(Code.RESOURCE_EXHAUSTED, late)] * len(tasks))
            return
        try:
            feeds = self._merged(tasks)
        except ServingError as error:
            _complete(tasks, [error] * len(tasks))
            return
        outcomes = self._outcomes(tasks, feeds)
        if len(tasks) > 1 and all(_may_be_one(outcome) for outcome in outcomes):
            # One request that the model refuses must not fail the others.
            outcomes = [self._outcomes([task], self._merged([task]))[0] for task in tasks]
        _complete(tasks, outcomes)

    def _size_of(self, feeds: list[Array]) -> int:
        if not all(feed.ndim for feed in feeds):
            raise invalid("Batching Run() input tensors must have at least one dimension")
        sizes = {feed.shape[0] for feed in feeds}
        if len(sizes) != 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        [size] = sizes
        if size > self._parameters.max_batch_size:
            raise invalid(
                f"Task size {size} is larger than maximum input batch size"
                f" {self._parameters.max_batch_size}"
            )
        return int(size)

    def _room(self) -> int:
        """Return how many rows the last batch still takes, -1 where there is no batch."""
        if not self._batches:
            return -1
        return self._parameters.execution_size - self._batches[-1].size

    def _may_enqueue(self, size: int, room: int) -> bool:
        free = self._parameters.max_enqueued_batches - len(self._batches)
        if not self._parameters.enable_large_batch_splitting:
            return free > 0
        return size <= max(room, 0) + free * self._parameters.execution_size

    def _tasks(
        self, feeds: list[Array], size: int, room: int, seconds: float, done: Done
    ) -> list[BatchTask]:
        limit = self._parameters.execution_size
        splits = self._parameters.enable_large_batch_splitting
        first = room if room > 0 else limit
        if not splits or size <= first:
            return [BatchTask(feeds, size, seconds, done)]
        starts = [0, *range(first, size, limit)]
        gathered = _Gathered(len(starts), done)
        return [
            BatchTask(
                [feed[start:end] for feed in feeds],
                end - start,
                seconds,
                partial(gathered.done, index),
            )
            for index, (start, end) in enumerate(zip(starts, [*starts[1:], size], strict=True))
        ]

    def _merged(self, tasks: list[BatchTask]) -> list[Array]:
        size = sum(task.size for task in tasks)
        padding = self._parameters.rounded(size) - size if size else 0
        self._metrics.batch_processed(size + padding, padding)
        pads = self._parameters.pad_variable_length_inputs
        return [
            merge(name, [task.feeds[place] for task in tasks], padding, pads=pads)
            for place, name in enumerate(self._names)
        ]

    def _outcomes(self, tasks: list[BatchTask], feeds: list[Array]) -> list[Outcome]:
        """Run once; return each task its rows of every output, or all of them the failure."""
        try:
            left = max(task.ends_at for task in tasks) - monotonic()
            results = self._run(feeds, 0 if left == inf else max(1, round(1000 * left)))
            for result in results:
                check_rows(result, feeds[0].shape[0])
        except ServingError as error:
            return [error] * len(tasks)
        except Exception as error:
            log.exception("A batch failed")
            failure = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            return [failure] * len(tasks)
        outcomes: list[Outcome] = []
        start = 0
        for task in tasks:
            end = start + task.size
            outcomes.append([result[start:end] for result in results])
            start = end
        return outcomes


class _Gathered:
    """Puts the results of a split request together again."""

    def __init__(self, parts: int, done: Done) -> None:
        self._outcomes: list[Outcome | None] = [None] * parts
        self._missing = parts
        self._done = done
        self._lock = threading.Lock()

    def done(self, index: int, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[index] = outcome
            self._missing -= 1
            if self._missing:
                return
        parts: list[list[Array]] = []
        for part in self._outcomes:
            if isinstance(part, ServingError):
                self._done(part)
                return
            parts.append(part or [])
        self._done([np.concatenate(pieces) for pieces in zip(*parts, strict=True)])


def _complete(tasks: list[BatchTask], outcomes: Sequence[Outcome]) -> None:
    for task, outcome in zip(tasks, outcomes, strict=True):
        try:
            task.done(outcome)
        except Exception:
            log.exception("A request could not be told its outcome")


def _may_be_one(outcome: Outcome) -> bool:
    return isinstance(outcome, ServingError) and outcome.code in _RETRY_ALONE_CODES
