"""The gRPC side of the server: its ports, and the services behind them.

Imported only when gRPC is asked for, since the messages bring TensorFlow along.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from ..errors import Code, ServingError, invalid
from ..flags import ServerFlags
from ..loading.server_core import ServerCore
from ..monitoring import Metrics
from .health import health_handlers
from .model_service import ModelService
from .prediction_service import PredictionService
from .tls import server_credentials

log = logging.getLogger("modelserver")

_UNLIMITED = 2**31 - 1


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Leave out what grpcio says, with a traceback, of each client that goes before its answer."""
    return not record.getMessage().startswith("ExecuteBatchError")


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_line)


class CannotListen(ServingError):
    """An address that another has, or that is none of this machine's."""

    def __init__(self, address: str, because: str = "") -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"can't listen on {address} for gRPC{because}")


async def start(
    core: ServerCore, flags: ServerFlags, metrics: Metrics, prepare_thread: Callable[[], None]
) -> grpc.aio.Server:
    """Listen where the flags say; a ServingError says why that can't be."""
    options: dict[str, str | int] = {
        "grpc.max_receive_message_length": _UNLIMITED,
        "grpc.max_send_message_length": _UNLIMITED,
        "grpc.so_reuseport": 0,
        # No call stays open for longer than this and the grace, whatever its client does.
        "grpc.max_connection_age_ms": 3_600_000,
        "grpc.max_connection_age_grace_ms": 300_000,
        **channel_arguments(flags.grpc_channel_arguments),
    }
    server = grpc.aio.server(options=list(options.items()))
    threads = ThreadPoolExecutor(flags.grpc_max_threads, "grpc", initializer=prepare_thread)
    prediction = PredictionService(
        core, threads, metrics, as_content=flags.enable_serialization_as_tensor_content
    )
    handlers = [prediction.handlers(), ModelService(core).handlers()]
    if flags.enable_grpc_healthcheck_service:
        handlers.append(health_handlers())
    server.add_generic_rpc_handlers(tuple(handlers))

    credentials = None
    if flags.ssl_config_file:
        credentials = server_credentials(Path(flags.ssl_config_file))
    addresses = [f"{flags.host}:{flags.port}"] if flags.port else []
    if flags.grpc_socket_path:
        addresses.append(f"unix:{flags.grpc_socket_path}")
    for address in addresses:
        _listen(server, address, credentials)
    await server.start()
    for address in addresses:
        log.info("Running gRPC ModelServer at %s ...", address)
    return server


def channel_arguments(text: str) -> dict[str, str | int]:
    """Read `key=value,key=value`; values that are whole numbers are passed as such."""
    arguments: dict[str, str | int] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise invalid(f"--grpc_channel_arguments must be key=value,key=value; got: {item}")
        try:
            number = int(value)
        except ValueError:
            arguments[key] = value
        else:
            arguments[key] = number if abs(number) < 2**31 else value
    return arguments


def _listen(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None
) -> None:
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise CannotListen(address, f": {error}") from error
    if not port:
        raise CannotListen(address)
