"""The rows of the benchmark, in the order in which they are measured."""

from collections.abc import Callable, Iterator

from bench.bench import Bench
from bench.measure import Line
from bench.rows import (
    batching,
    containers,
    gateway,
    idle,
    images,
    log_opening,
    logs,
    modelserver,
    modelserver_grpc,
    request_metrics,
    rollout,
    runs,
    scheduling,
    stop,
    supervision,
    training,
    uploads,
    viewers,
)

Row = Callable[[Bench], Iterator[Line]]

ROWS: dict[str, Row] = {
    "idle": idle.measure,
    "post": runs.measure_post,
    "first-line": runs.measure_first_line,
    "twenty": runs.measure_twenty,
    "stop": stop.measure,
    "producer": logs.measure_producer,
    "lines": logs.measure_lines,
    "age": logs.measure_age,
    "viewers": viewers.measure,
    "open": log_opening.measure,
    "uploads": uploads.measure,
    "training": training.measure,
    "model-server": modelserver.measure,
    "model-server-grpc": modelserver_grpc.measure,
    "metrics": request_metrics.measure,
    "batching": batching.measure,
    "batching-choices": batching.measure_choices,
    "gateway": gateway.measure,
    "gateway-memory": gateway.measure_memory,
    "rollout": rollout.measure,
    "queue": scheduling.measure,
    "tick": supervision.measure,
    "images": images.measure,
    "container-first-line": containers.measure_first_line,
    "gang": containers.measure_gang,
    "container-training": containers.measure_training,
    "container-stop": containers.measure_stop,
}
