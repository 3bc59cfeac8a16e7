"""Batching on beside batching off, on a model with matrix products worth batching."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import modelserver
from bench.bench import Bench
from bench.load import load
from bench.measure import Line, alternate

BODY = json.dumps({"instances": [[0.5] * 16]}).encode()
CONNECTIONS, SECONDS, ROUNDS = 32, 4, 3
# What the documentation says: one thread, no waiting.
COMMON = "max_batch_size { value: 32 } max_enqueued_batches { value: 100 }"
USUAL = f"{COMMON} num_batch_threads {{ value: 1 }}"
CHOICES = {
    "a thread a core": COMMON,
    "4 threads": f"{COMMON} num_batch_threads {{ value: 4 }}",
    "waiting 2 ms": f"{USUAL} batch_timeout_micros {{ value: 2000 }}",
    "batches of 16": USUAL.replace("32", "16"),
}


def measure(bench: Bench) -> Iterator[Line]:
    """Compare the usual parameters with no batching."""
    model = modelserver.built_models(bench.folder) / "wide"
    with (
        modelserver.serving(model) as off,
        modelserver.serving(model, *_flags(bench.folder, "usual", USUAL)) as on,
    ):
        ours, theirs = alternate(lambda: _rate(on), lambda: _rate(off), ROUNDS)
        yield Line(
            f"batching at c={CONNECTIONS}",
            ours,
            "rps",
            1.5,
            "without",
            theirs,
            of_ratio=True,
            is_least=True,
        )


def measure_choices(bench: Bench) -> Iterator[Line]:
    """Compare other parameters with the usual ones, which none should beat by much."""
    model = modelserver.built_models(bench.folder) / "wide"
    for name, text in CHOICES.items():
        with ExitStack() as servers:
            start = servers.enter_context
            usual = start(modelserver.serving(model, *_flags(bench.folder, "usual", USUAL)))
            other = start(modelserver.serving(model, *_flags(bench.folder, "other", text)))
            theirs, ours = alternate(partial(_rate, other), partial(_rate, usual), ROUNDS)
        yield Line(
            f"batching, {name}, at c={CONNECTIONS}",
            theirs,
            "rps",
            1.25,
            "one thread, no waiting",
            ours,
            of_ratio=True,
        )


def _flags(folder: Path, name: str, parameters: str) -> tuple[str, ...]:
    file = folder / f"{name}-batching.txt"
    file.write_text(parameters)
    return ("--enable_batching", f"--batching_parameters_file={file}")


def _rate(url: str) -> float:
    load(url, BODY, {}, connections=CONNECTIONS, seconds=1)
    return load(url, BODY, {}, connections=CONNECTIONS, seconds=SECONDS).rps
