"""Put the parts together: listen, load, answer, and leave in order."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from . import savedmodel
from .config_file import ModelConfig, read_config_file
from .connection import Connections
from .core import Core, all_loaded
from .errors import ServingError
from .flags import Flags
from .rest import RestApi
from .versions import Loading, Model, Polling

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
    core = Core(
        Loading(
            partial(savedmodel.load, options=_session_options(flags)),
            ThreadPoolExecutor(max(1, flags.num_load_threads), "load"),
            ThreadPoolExecutor(max(1, flags.num_unload_threads), "unload"),
        ),
        Polling(
            flags.file_system_poll_wait_seconds,
            flags.max_num_load_retries,
            flags.load_retry_interval_micros / 1e6,
        ),
        labels_early=flags.allow_version_labels_for_unavailable_models,
    )
    api = RestApi(
        core, workers, loop.call_soon_threadsafe, allow_cors=flags.rest_api_enable_cors_support
    )
    connections = Connections(api, loop)
    models = _configure(core, flags)
    server = await _listen(connections, flags)

    background: list[asyncio.Task[Any]] = [
        asyncio.create_task(connections.keep_time()),
        asyncio.create_task(core.watch()),
        asyncio.create_task(_load_models(models)),
        asyncio.create_task(_follow_config(core, flags)),
    ]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)
    while stopped not in done:
        for task in done:
            task.result()
            background.remove(task)
        done, _ = await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)

    log.info("Stopping: requests in flight are finished, new ones refused")
    if server is not None:
        server.close()
    if not await connections.close(STOP_GRACE):
        log.warning("Requests that took longer than %.0f s were cut off", STOP_GRACE)
    return 0


def _configure(core: Core, flags: Flags) -> list[Model]:
    """Tell the core which models the flags ask for."""
    try:
        if flags.model_config_file:
            return core.apply(read_config_file(Path(flags.model_config_file)))
        return core.adopt([ModelConfig(flags.model_name, flags.base_path)])
    except ServingError as error:
        raise StartError(f"{error.code.name}: {error.message}") from error


async def _listen(connections: Connections, flags: Flags) -> asyncio.Server | None:
    """Open the REST port, where there is to be one."""
    if not flags.rest_api_port:
        return None
    if flags.rest_api_port == flags.port:
        log.error(
            "--rest_api_port cannot be same as --port. Please use different port for"
            " HTTP/REST API. Skipped exporting HTTP/REST API."
        )
        return None
    try:
        server = await connections.loop.create_server(
            connections.make, flags.host, flags.rest_api_port, backlog=1024
        )
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise StartError(f"can't listen on {flags.host}:{flags.rest_api_port}: {reason}") from None
    log.info("Exporting HTTP/REST API at:%s:%d", flags.host, flags.rest_api_port)
    return server


async def _load_models(models: Sequence[Model]) -> None:
    """Fail the start when a model's first version can't be loaded."""
    try:
        await all_loaded(models)
    except ServingError as error:
        raise StartError(f"{error.code.name}: {error.message}") from error


async def _follow_config(core: Core, flags: Flags) -> None:
    """Apply the configuration file again and again; what is wrong with it is logged once."""
    path, every = Path(flags.model_config_file), flags.model_config_file_poll_wait_seconds
    complaint = ""
    while flags.model_config_file and every > 0:
        await asyncio.sleep(every)
        try:
            core.apply(await asyncio.to_thread(read_config_file, path))
            complaint = ""
        except ServingError as error:
            if error.message != complaint:
                log.error("The configuration file is ignored: %s", error.message)
            complaint = error.message


def _session_options(flags: Flags) -> savedmodel.SessionOptions:
    return savedmodel.SessionOptions(
        tags=tuple(tag for tag in flags.saved_model_tags.split(",") if tag),
        intra_op_threads=flags.intra_op_threads,
        inter_op_threads=flags.inter_op_threads,
        gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        run_timeout_ms=flags.rest_api_timeout_in_ms,
        warm_up=flags.enable_model_warmup,
        check_methods=flags.enable_signature_method_name_check,
    )


def _let_numbers_overflow() -> None:
    """Numbers beyond float32 become infinity, as the protocol wants, without a warning."""
    np.seterr(all="ignore")
