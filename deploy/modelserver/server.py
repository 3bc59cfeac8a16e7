"""Put the parts together: listen, load, answer, and leave in order."""

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from .errors import ServingError
from .flags import ServerFlags
from .http.connection import ConnectionLimits, Connections
from .http.rest import RestApi
from .loading import savedmodel
from .loading.model_config import ModelConfig, read_config_file
from .loading.server_core import ServerCore, all_loaded
from .loading.versions import PollingPolicy, ServedModel, VersionLoader
from .monitoring import Metrics
from .options import monitoring_config, session_options

log = logging.getLogger("modelserver")

EXIT_REFUSED = 255
STOP_GRACE = 5.0
# Threads come back from TensorFlow needing the interpreter's lock; 5 ms, the default, is long.
SWITCH_INTERVAL = 0.0005


class StartError(Exception):
    """The server can't start; the message says why."""


def serve(flags: ServerFlags) -> int:
    """Run until a signal asks to stop; return the exit code."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    sys.setswitchinterval(SWITCH_INTERVAL)
    _let_numbers_overflow()
    try:
        return uvloop.run(_serve(flags))
    except StartError as error:
        reason = str(error)
    except ServingError as error:
        reason = f"{error.code.name}: {error.message}"
    print(f"Failed to start server. Error: {reason}")
    return EXIT_REFUSED


def describe_versions() -> str:
    """Return which server and which TensorFlow this is."""
    for package in ("tensorflow", "tensorflow-cpu"):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        return f"TensorFlow ModelServer: {found}+trainyard\nTensorFlow Library: {found}"
    return "TensorFlow ModelServer: trainyard\nTensorFlow Library: not installed"


async def _serve(flags: ServerFlags) -> int:
    for name in flags.ignored:
        log.warning("--%s has no effect in this server", name)
    if flags.mixed_precision not in ("", "bfloat16"):
        log.warning("--mixed_precision=%s is not known; bfloat16 is", flags.mixed_precision)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    workers = ThreadPoolExecutor(
        flags.rest_api_num_threads, "predict", initializer=_let_numbers_overflow
    )
    metrics = Metrics()
    monitoring = monitoring_config(flags)
    core = ServerCore(
        VersionLoader(
            partial(savedmodel.load, options=session_options(flags, metrics)),
            ThreadPoolExecutor(max(1, flags.num_load_threads), "load"),
            ThreadPoolExecutor(max(1, flags.num_unload_threads), "unload"),
        ),
        PollingPolicy(
            flags.file_system_poll_wait_seconds,
            flags.max_num_load_retries,
            flags.load_retry_interval_micros / 1e6,
        ),
        labels_early=flags.allow_version_labels_for_unavailable_models,
    )
    api = RestApi(
        core,
        workers,
        ThreadPoolExecutor(1, "read", initializer=_let_numbers_overflow),
        loop.call_soon_threadsafe,
        metrics,
        allow_cors=flags.rest_api_enable_cors_support,
        metrics_path=monitoring.path if monitoring.is_enabled else None,
    )
    connections = Connections(api, loop, ConnectionLimits.of_this_process())
    models = _configure(core, flags)
    server = await _listen(connections, flags)
    grpc_server = await _listen_for_grpc(core, flags, metrics)

    background: list[asyncio.Task[Any]] = [
        asyncio.create_task(connections.keep_time()),
        asyncio.create_task(core.watch()),
        asyncio.create_task(all_loaded(models)),
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
    closing = [asyncio.ensure_future(grpc_server.stop(STOP_GRACE))] if grpc_server else []
    if not await connections.close(STOP_GRACE):
        log.warning("Requests that took longer than %.0f s were cut off", STOP_GRACE)
    await asyncio.gather(*closing)
    return 0


def _configure(core: ServerCore, flags: ServerFlags) -> list[ServedModel]:
    """Tell the core which models the flags ask for."""
    if flags.model_config_file:
        return core.apply(read_config_file(Path(flags.model_config_file)))
    return core.set_models([ModelConfig(flags.model_name, flags.base_path)])


async def _listen(connections: Connections, flags: ServerFlags) -> asyncio.Server | None:
    """Open the REST port, where there is to be one."""
    if not flags.rest_api_port:
        return None
    if flags.rest_api_port == flags.port and not flags.may_lack_grpc:
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


async def _listen_for_grpc(core: ServerCore, flags: ServerFlags, metrics: Metrics) -> Any:
    """Open the gRPC port and socket, where there are to be any; return the server."""
    if not (flags.port or flags.grpc_socket_path):
        return None
    await asyncio.to_thread(savedmodel.import_tensorflow)
    from .grpc import server as grpc_server

    try:
        return await grpc_server.start(core, flags, metrics, _let_numbers_overflow)
    except grpc_server.CannotListen as error:
        if not flags.may_lack_grpc:
            raise
        log.warning("gRPC is off: %s; --port names another port, or 0 for none", error.message)
        return None


async def _follow_config(core: ServerCore, flags: ServerFlags) -> None:
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


def _let_numbers_overflow() -> None:
    """Numbers beyond float32 become infinity, as the protocol wants, without a warning."""
    np.seterr(all="ignore")
