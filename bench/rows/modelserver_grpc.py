"""Our model server's gRPC, one process, beside grpcio servers that only give back what they got."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import modelserver
from bench.bench import Bench
from bench.measure import Line, alternate
from bench.site import PROGRAMS, free_port

ROUNDS, SECONDS = 5, 3
LARGE_ROWS = 655_360  # of four floats: 10 MB


def measure(bench: Bench) -> Iterator[Line]:
    bench.say("building models")
    model = modelserver.built_models(bench.folder) / "half"
    requests = bench.folder / "grpc-requests"
    requests.mkdir(exist_ok=True)
    modelserver.run_program("grpc_requests", requests)
    port = free_port()
    with (
        modelserver.serving(model, f"--port={port}"),
        _echo("threads") as threads,
        _echo("loop") as loop,
    ):
        small, large = requests / "small", requests / "large"
        for name, echo, goal in (
            ("grpcio echo", threads, 0.8),
            ("echo on the same loop", loop, 0.6),
        ):
            ours, floor = _alternating(port, echo, small, 8, "rps")
            yield Line(
                "a small model over gRPC at c=8",
                ours,
                "rps",
                goal,
                name,
                floor,
                of_ratio=True,
                is_least=True,
            )
        ours, floor = _alternating(port, loop, large, 1, "p50")
        direct = float(modelserver.run_program("direct_call", model / "1", str(LARGE_ROWS)))
        yield Line(
            "a tensor of 10 MB over gRPC and back, p50",
            1000 * ours,
            "ms",
            1.5,
            "grpcio echo + direct call",
            1000 * (floor + direct),
            of_ratio=True,
        )


def _alternating(
    port: int, echo: int, request: Path, connections: int, figure: str
) -> tuple[float, float]:
    def load(at: int) -> Callable[[], float]:
        arguments = (str(at), request, str(connections), str(SECONDS))
        return lambda: float(json.loads(modelserver.run_program("grpc_load", *arguments))[figure])

    return alternate(load(port), load(echo), ROUNDS)


@contextmanager
def _echo(kind: str) -> Iterator[int]:
    port = free_port()
    program = PROGRAMS / "grpc_echo.py"
    command = [str(modelserver.tensorflow_python()), str(program), str(port), kind]
    process = subprocess.Popen(command)
    try:
        yield port
    finally:
        process.kill()
        process.wait()
