"""Dynamic batching: what shares a run, what is refused, and what a file may say."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("orjson", reason="the model server's requirements are not installed here")
np = pytest.importorskip("numpy", reason="numpy is not installed here")

from deploy.modelserver.batching.parameters import BatchingParameters, check, read_parameters  # noqa: E402
from deploy.modelserver.batching.queue import BatchingOptions, BatchQueue, Outcome  # noqa: E402
from deploy.modelserver.errors import Code, ServingError  # noqa: E402
from deploy.modelserver.monitoring import Metrics  # noqa: E402

LONG = 60_000_000
DEADLINE = 30.0


class Model:
    """Counts rows and refuses negative ones; a run waits while the gate is closed."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.fed: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, feeds: list[Any], timeout_ms: int | None) -> list[Any]:
        self.entered.release()
        assert self.gate.wait(DEADLINE)
        self.sizes.append(len(feeds[0]))
        self.fed.append(feeds[0])
        if (feeds[0] < 0).any():
            raise ServingError(Code.INVALID_ARGUMENT, "negative")
        return [feeds[0] * 2]


class Told:
    """Collects the outcomes of requests that were submitted."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._changed = threading.Condition()

    def submit(self, queue: BatchQueue, number: int, *values: float) -> None:
        def done(outcome: Outcome) -> None:
            with self._changed:
                self.outcomes[number] = outcome
                self._changed.notify_all()

        queue.submit([np.array(values)], done)

    def values(self, count: int) -> dict[int, Any]:
        """Wait for so many outcomes; return values, and of errors their message."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, DEADLINE)
        return {
            number: outcome.message if isinstance(outcome, ServingError) else outcome[0].tolist()
            for number, outcome in self.outcomes.items()
        }


def make_queue(model: Model, **parameters: Any) -> BatchQueue:
    given = BatchingParameters(**{"num_batch_threads": 1, **parameters})
    batching = BatchingOptions(given, Metrics(), per_model=False)
    return batching.queue(given, ("x",), model, timeout_ms=30_000)


def test_requests_that_wait_together_run_together_and_get_their_own_rows() -> None:
    model, told = Model(), Told()
    queue = make_queue(model, max_batch_size=4, batch_timeout_micros=LONG)

    told.submit(queue, 1, 1)
    told.submit(queue, 2, 2, 3)
    told.submit(queue, 3, 4)

    assert told.values(3) == {1: [2], 2: [4, 6], 3: [8]}
    assert model.sizes == [4]


def test_a_batch_runs_when_its_first_request_has_waited_long_enough() -> None:
    model, told = Model(), Told()
    queue = make_queue(model, max_batch_size=100, batch_timeout_micros=1000)

    told.submit(queue, 1, 1)

    assert told.values(1) == {1: [2]}


def test_requests_that_come_during_a_run_share_the_next_one() -> None:
    model, told = Model(), Told()
    queue = make_queue(model, max_batch_size=100)
    model.gate.clear()
    told.submit(queue, 0, 0)
    assert model.entered.acquire(timeout=DEADLINE)

    for number in range(1, 6):
        told.submit(queue, number, number)
    model.gate.set()

    assert told.values(6) == {number: [2 * number] for number in range(6)}
    assert model.sizes == [1, 5]


@pytest.mark.slow
def test_batches_are_padded_to_an_allowed_size_with_the_last_requests_first_row() -> None:
    model, told = Model(), Told()
    queue = make_queue(
        model, max_batch_size=8, batch_timeout_micros=1_000_000, allowed_batch_sizes=(2, 4, 8)
    )

    told.submit(queue, 1, 1)
    told.submit(queue, 2, 7, 8)

    assert told.values(2) == {1: [2], 2: [14, 16]}
    assert model.sizes == [4]
    assert model.fed[0].tolist() == [1, 7, 8, 7]


def test_a_request_that_the_model_refuses_fails_alone() -> None:
    model, told = Model(), Told()
    queue = make_queue(model, max_batch_size=3, batch_timeout_micros=LONG)

    told.submit(queue, 1, 1)
    told.submit(queue, 2, -1)
    told.submit(queue, 3, 3)

    assert told.values(3) == {1: [2], 2: "negative", 3: [6]}


def test_a_batch_that_can_not_be_made_is_answered_and_the_next_one_runs() -> None:
    class OnceFull(Metrics):
        is_full = True

        def batch_processed(self, size: int, padding: int) -> None:
            if self.is_full:
                self.is_full = False
                raise MemoryError("full")

    given = BatchingParameters(num_batch_threads=1)
    batching = BatchingOptions(given, OnceFull(), per_model=False)
    queue = batching.queue(given, ("x",), Model(), timeout_ms=0)

    with pytest.raises(ServingError, match="MemoryError: full"):
        queue.run([np.ones(1)])
    assert queue.run([np.ones(1)])[0].tolist() == [2]


def test_a_large_request_is_split_over_batches_where_that_is_allowed() -> None:
    model, told = Model(), Told()
    queue = make_queue(
        model,
        max_batch_size=10,
        max_execution_batch_size=4,
        enable_large_batch_splitting=True,
        batch_timeout_micros=1000,
    )

    told.submit(queue, 1, *range(10))

    assert told.values(1) == {1: [2.0 * number for number in range(10)]}
    assert sorted(model.sizes) == [2, 4, 4]


def test_a_request_without_rows_has_a_result_without_rows() -> None:
    queue = make_queue(Model(), allowed_batch_sizes=(1000,))

    [result] = queue.run([np.zeros(0)])

    assert result.tolist() == []


def test_a_request_larger_than_a_batch_is_refused() -> None:
    queue = make_queue(Model(), max_batch_size=2)

    with pytest.raises(ServingError) as refused:
        queue.run([np.zeros(3)])

    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.message == "Task size 3 is larger than maximum input batch size 2"


def test_scalars_and_unequal_first_dimensions_are_refused() -> None:
    given = BatchingParameters(num_batch_threads=1)
    batching = BatchingOptions(given, Metrics(), per_model=False)
    queue = batching.queue(given, ("a", "b"), Model(), timeout_ms=0)

    for feeds, said in (
        ([np.zeros(2), np.zeros(())], "must have at least one dimension"),
        ([np.zeros(2), np.zeros(3)], "must have equal 0th-dimension size"),
    ):
        with pytest.raises(ServingError, match=said) as refused:
            queue.run(feeds)
        assert refused.value.code is Code.INVALID_ARGUMENT


def test_a_full_queue_is_unavailable_and_takes_requests_again_later() -> None:
    model, told = Model(), Told()
    queue = make_queue(model, max_batch_size=1, max_enqueued_batches=2)
    model.gate.clear()
    told.submit(queue, 0, 0)
    assert model.entered.acquire(timeout=DEADLINE)
    told.submit(queue, 1, 1)
    told.submit(queue, 2, 2)

    with pytest.raises(ServingError, match="queue to which this task was submitted is full") as no:
        told.submit(queue, 3, 3)
    model.gate.set()

    assert no.value.code is Code.UNAVAILABLE
    assert told.values(3) == {0: [0], 1: [2], 2: [4]}
    told.submit(queue, 4, 4)
    assert told.values(4)[4] == [8]


def test_requests_that_waited_longer_than_their_limit_are_not_run() -> None:
    model = Model()
    given = BatchingParameters(max_batch_size=1, num_batch_threads=1)
    batching = BatchingOptions(given, Metrics(), per_model=False)
    busy = batching.queue(given, ("x",), model, timeout_ms=0)
    queue = batching.queue(given, ("x",), model, timeout_ms=1)
    told = Told()
    model.gate.clear()
    told.submit(busy, 0, 0)
    assert model.entered.acquire(timeout=DEADLINE)
    told.submit(queue, 1, 1)
    time.sleep(0.002)  # longer than the limit
    model.gate.set()

    assert told.values(2)[1] == "Run() timeout exceeded while waiting in batching queue"
    assert model.sizes == [1]


def test_two_queues_take_turns() -> None:
    first, second, told = Model(), Model(), Told()
    given = BatchingParameters(max_batch_size=1, num_batch_threads=1)
    batching = BatchingOptions(given, Metrics(), per_model=False)
    busy = batching.queue(given, ("x",), first, timeout_ms=0)
    other = batching.queue(given, ("x",), second, timeout_ms=0)
    first.gate.clear()
    for number in range(4):
        told.submit(busy, number, number)
    assert first.entered.acquire(timeout=DEADLINE)
    told.submit(other, 9, 9)
    second.gate.clear()
    first.gate.set()
    assert second.entered.acquire(timeout=DEADLINE)

    assert len(first.sizes) <= 2
    second.gate.set()
    assert told.values(5)[9] == [18]


def test_a_file_gives_wrapped_and_plain_values(tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(
        "max_batch_size { value: 128 } batch_timeout_micros { value: 5 }\n"
        "max_enqueued_batches: { value: 7 }, num_batch_threads { value: 3 }\n"
        'thread_pool_name { value: "pool" } # a comment\n'
        "allowed_batch_sizes: 32 allowed_batch_sizes: [64, 128]\n"
        "pad_variable_length_inputs: true enable_large_batch_splitting { value: true }\n"
        "max_execution_batch_size { value: 64 }"
    )

    assert read_parameters(file) == BatchingParameters(
        128, 5, 7, 3, "pool", (32, 64, 128), True, True, 64
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size: 5", "Invalid protobuf file"),
        ("max_batch { value: 5 }", 'has no field named "max_batch"'),
        ("max_batch_size { value: x }", "Invalid protobuf file"),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative"),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: 2",
            "must match max_batch_size; last entry was 2; expected 4",
        ),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: 5 allowed_batch_sizes: 4",
            "must be monotonically increasing",
        ),
    ],
)
def test_a_file_with_errors_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(text)

    with pytest.raises(ServingError) as refused:
        check(read_parameters(file))

    assert refused.value.code is Code.INVALID_ARGUMENT
    assert said in refused.value.message
