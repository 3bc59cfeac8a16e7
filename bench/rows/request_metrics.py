"""What counting one request costs the model server, beside prometheus-client's own metrics."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram

from bench.bench import Bench
from bench.measure import Line, alternate
from deploy.modelserver.monitoring import LATENCY_BOUNDS, Metrics

REQUESTS, ROUNDS = 20_000, 7
RUN_SECONDS, REQUEST_SECONDS = 0.000_040, 0.000_060


def measure(bench: Bench) -> Iterator[Line]:
    ours, theirs = alternate(_timed(_ours()), _timed(_theirs()), ROUNDS)
    yield Line(
        "metrics of one request", ours, "us", 0.5, "prometheus-client", theirs, of_ratio=True
    )


def _timed(count_one: Callable[[], None]) -> Callable[[], float]:
    def microseconds() -> float:
        began = time.process_time()
        for _ in range(REQUESTS):
            count_one()
        return (time.process_time() - began) / REQUESTS * 1e6

    return microseconds


def _ours() -> Callable[[], None]:
    metrics = Metrics()

    def count_one() -> None:
        metrics.count_request("digits", "OK")
        metrics.observe_run("digits", "REST", RUN_SECONDS)
        metrics.observe_request("digits", "REST", "Predict", REQUEST_SECONDS)

    return count_one


def _theirs() -> Callable[[], None]:
    registry = CollectorRegistry()
    requests = Counter("request_count", "", ["model_name", "status"], registry=registry)
    runs, latencies = (
        Histogram(name, "", ["model_name", "API", label], buckets=bounds, registry=registry)
        for name, label, bounds in (
            ("runtime_latency", "runtime", LATENCY_BOUNDS),
            ("request_latency", "entrypoint", LATENCY_BOUNDS),
        )
    )

    def count_one() -> None:
        requests.labels("digits", "OK").inc()
        runs.labels("digits", "REST", "TF1").observe(RUN_SECONDS * 1e6)
        latencies.labels("digits", "REST", "Predict").observe(REQUEST_SECONDS * 1e6)

    return count_one
