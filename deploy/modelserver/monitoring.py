"""The server's metrics in Prometheus' text format, under TensorFlow Serving's names.

Not with prometheus-client: it ends the name of every counter in `_total`, where TensorFlow Serving
has no such end, and takes 12 us of a request instead of 3 (docs/benchmarks.md, row `metrics`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from .textproto import read_text_proto

DEFAULT_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = b"text/plain"

_SERVING = ":tensorflow:serving:"
_BATCHING = ":tensorflow:serving:batching_session:"
_SAVED_MODEL = ":tensorflow:cc:saved_model:"


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """What a monitoring_config_file asks for."""

    is_enabled: bool = False
    path: str = DEFAULT_PATH


def read_monitoring_config(path: Path) -> MonitoringConfig:
    """Read a MonitoringConfig in text form."""
    prometheus = read_text_proto(path, "MonitoringConfig").prometheus_config
    return MonitoringConfig(prometheus.enable, prometheus.path or DEFAULT_PATH)


class PrometheusCounter:
    """A count for each combination of labels."""

    def __init__(self, name: str, *labels: str) -> None:
        self._name = name
        self._labels = labels
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = Lock()

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + count

    def lines(self) -> list[str]:
        with self._lock:
            counts = sorted(self._counts.items())
        if not counts:
            return []
        return [
            f"# TYPE {self._name} counter",
            *(f"{self._name}{{{_shown(self._labels, values)}}} {n}" for values, n in counts),
        ]


@dataclass(slots=True)
class _Cell:
    buckets: list[int]
    total: float = 0.0


class PrometheusHistogram:
    """A histogram with exponential buckets for each combination of labels."""

    def __init__(self, name: str, bounds: Sequence[float], *labels: str) -> None:
        self._name = name
        self._labels = labels
        self._bounds = bounds
        self._cells: dict[tuple[str, ...], _Cell] = {}
        self._lock = Lock()

    def add(self, labels: tuple[str, ...], value: float) -> None:
        index = bisect_left(self._bounds, value)
        with self._lock:
            cell = self._cells.get(labels)
            if cell is None:
                cell = self._cells[labels] = _Cell([0] * (len(self._bounds) + 1))
            cell.buckets[index] += 1
            cell.total += value

    def lines(self) -> list[str]:
        with self._lock:
            cells = [(k, list(cell.buckets), cell.total) for k, cell in self._cells.items()]
        lines = [f"# TYPE {self._name} histogram"] if cells else []
        limits = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        for values, buckets, total in sorted(cells):
            labels = _shown(self._labels, values)
            start = f"{labels}," if labels else ""
            count = 0
            for limit, more in zip(limits, buckets, strict=True):
                count += more
                lines.append(f'{self._name}_bucket{{{start}le="{limit}"}} {count}')
            lines.append(f"{self._name}_sum{{{labels}}} {total:.15g}")
            lines.append(f"{self._name}_count{{{labels}}} {count}")
        return lines


def _exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    return tuple(scale * growth**power for power in range(count))


LATENCY_BOUNDS = _exponential(10.0, 1.8, 33)  # microseconds, to some 25 minutes
_QUEUEING_BOUNDS = _exponential(100.0, 1.2, 52)
_SIZE_BOUNDS = _exponential(1.0, 2.0, 14)
_EXAMPLE_BOUNDS = _exponential(1.0, 2.0, 15)


class Metrics:
    """All metrics of one server; every method may be called from any thread."""

    def __init__(self) -> None:
        self._requests = PrometheusCounter(f"{_SERVING}request_count", "model_name", "status")
        self._request_latency = PrometheusHistogram(
            f"{_SERVING}request_latency", LATENCY_BOUNDS, "model_name", "API", "entrypoint"
        )
        self._runtime_latency = PrometheusHistogram(
            f"{_SERVING}runtime_latency", LATENCY_BOUNDS, "model_name", "API", "runtime"
        )
        self._example_counts = PrometheusHistogram(
            f"{_SERVING}request_example_counts", _EXAMPLE_BOUNDS, "model"
        )
        self._example_total = PrometheusCounter(f"{_SERVING}request_example_count_total", "model")
        self._warm_up_latency = PrometheusHistogram(
            f"{_SERVING}model_warmup_latency", LATENCY_BOUNDS, "model_path", "status"
        )
        self._batch_inputs = PrometheusHistogram(f"{_BATCHING}input_batch_size", _SIZE_BOUNDS)
        self._batches = PrometheusHistogram(f"{_BATCHING}processed_batch_size", _SIZE_BOUNDS)
        self._padding = PrometheusHistogram(
            f"{_BATCHING}padding_size", _SIZE_BOUNDS, "execution_batch_size"
        )
        self._queuing = PrometheusHistogram(
            f"{_BATCHING}queuing_latency", _QUEUEING_BOUNDS, "thread_pool_name"
        )
        self._load_attempts = PrometheusCounter(
            f"{_SAVED_MODEL}load_attempt_count", "model_path", "status"
        )
        self._load_latency = PrometheusCounter(f"{_SAVED_MODEL}load_latency", "model_path")

    def count_request(self, model: str, code_name: str) -> None:
        """Count a request by the name of its response's status code."""
        self._requests.add((model, code_name))

    def observe_request(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """Record how long a successful request took from its arrival to its response."""
        self._request_latency.add((model, api, entrypoint), seconds * 1e6)

    def observe_run(self, model: str, api: str, seconds: float) -> None:
        """Record how long TensorFlow took, waiting for a batch included."""
        self._runtime_latency.add((model, api, "TF1"), seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """Record how many tf.Examples a request contained."""
        self._example_counts.add((model,), count)
        self._example_total.add((model,), count)

    def observe_warmup(self, path: Path, seconds: float) -> None:
        """Record a successful warm-up."""
        self._warm_up_latency.add((str(path), "OK"), seconds * 1e6)

    def loaded(self, path: Path, seconds: float, *, is_success: bool) -> None:
        """Record an attempt to load a version."""
        self._load_attempts.add((str(path), "success" if is_success else "fail"))
        self._load_latency.add((str(path),), round(seconds * 1e6))

    def batch_input(self, size: int) -> None:
        """Record the rows of one tensor that is to be batched."""
        self._batch_inputs.add((), size)

    def batch_processed(self, size: int, padding: int) -> None:
        """Record the rows of a batch as it runs, and how many of them are padding."""
        self._batches.add((), size)
        self._padding.add((str(size),), padding)

    def observe_queueing(self, thread_pool_name: str, seconds: float) -> None:
        """Record how long a task waited for its batch to run."""
        self._queuing.add((thread_pool_name,), seconds * 1e6)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        metrics: list[PrometheusCounter | PrometheusHistogram] = list(vars(self).values())
        return ("\n".join(line for metric in metrics for line in metric.lines()) + "\n").encode()


def _shown(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(names, values, strict=True)
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
