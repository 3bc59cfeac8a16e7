"""Put the parts together: listen, load, answer, and leave in order."""

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import uvloop

from . import savedmodel
from .connection import Connections
from .flags import Flags
from .rest import RestApi
from .versions import Model, Policy, State

log = logging.getLogger("modelserver")

EXIT_REFUSED = 255
STOP_GRACE = 5.0
# Threads come back from TensorFlow needing the interpreter's lock; 5 ms, the default, is long.
SWITCH_INTERVAL = 0.0005


class StartError(Exception):
    """The server can't start; the message says why."""


def serve(flags: Flags) -> int:
    """Run until a signal asks to stop; return the exit code."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    sys.setswitchinterval(SWITCH_INTERVAL)
    _let_numbers_overflow()
    try:
        return uvloop.run(_serve(flags))
    except StartError as error:
        log.error("Failed to start server. Error: %s", error)
        return EXIT_REFUSED


def describe_versions() -> str:
    """Say which server and which TensorFlow this is."""
    for package in ("tensorflow", "tensorflow-cpu"):
        try:
            return f"Trainyard model server\nTensorFlow Library: {version(package)}"
        except PackageNotFoundError:
            continue
    return "Trainyard model server\nTensorFlow Library: not installed"


async def _serve(flags: Flags) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    workers = ThreadPoolExecutor(
        flags.rest_api_num_threads, "predict", initializer=_let_numbers_overflow
    )
    model = Model(
        flags.model_name,
        flags.base_path,
        partial(savedmodel.load, options=_session_options(flags)),
        ThreadPoolExecutor(1, "load"),
        Policy(
            flags.file_system_poll_wait_seconds,
            flags.max_num_load_retries,
            flags.load_retry_interval_micros / 1e6,
        ),
    )
    api = RestApi(
        {model.name: model},
        workers,
        loop.call_soon_threadsafe,
        allow_cors=flags.rest_api_enable_cors_support,
    )
    connections = Connections(api, loop)
    try:
        server = await loop.create_server(
            connections.make, flags.host, flags.rest_api_port, backlog=1024
        )
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise StartError(f"can't listen on {flags.host}:{flags.rest_api_port}: {reason}") from None
    log.info("Exporting HTTP/REST API at:%s:%d", flags.host, flags.rest_api_port)

    background: list[asyncio.Task[Any]] = [
        asyncio.create_task(connections.keep_time()),
        asyncio.create_task(model.watch()),
        asyncio.create_task(_first_load(model)),
    ]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)
    while stopped not in done:
        for task in done:
            task.result()
            background.remove(task)
        done, _ = await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)

    log.info("Stopping: requests in flight are finished, new ones refused")
    server.close()
    if not await connections.close(STOP_GRACE):
        log.warning("Requests that took longer than %.0f s were cut off", STOP_GRACE)
    return 0


async def _first_load(model: Model) -> None:
    """Fail the start when the first version that is found can't be loaded."""
    first = await model.first_outcome
    if first.state is State.END and first.error is not None:
        raise StartError(
            "Unknown: 1 servable(s) did not become available: "
            f"{{{{name: {model.name} version: {first.number}}} due to error: "
            f"{first.error.code.name}: {first.error.message}}}"
        )


def _session_options(flags: Flags) -> savedmodel.SessionOptions:
    return savedmodel.SessionOptions(
        tags=tuple(tag for tag in flags.saved_model_tags.split(",") if tag),
        intra_op_threads=flags.intra_op_threads,
        inter_op_threads=flags.inter_op_threads,
        gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        run_timeout_ms=flags.rest_api_timeout_in_ms,
        warm_up=flags.enable_model_warmup,
    )


def _let_numbers_overflow() -> None:
    """Numbers beyond float32 become infinity, as the protocol wants, without a warning."""
    np.seterr(all="ignore")
