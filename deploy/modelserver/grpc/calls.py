"""What every gRPC method shares: reading a request, and errors as statuses."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from ..errors import Code, ServingError, invalid

log = logging.getLogger("modelserver")

RpcMethod = Callable[[bytes, Any], Awaitable[bytes]]

MAX_DETAILS = 1024
TRUNCATED = "...TRUNCATED"

_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def unary(answer: RpcMethod) -> grpc.RpcMethodHandler:
    """Make a method of an answer that takes and returns bytes and may raise a ServingError."""

    async def handle(data: bytes, context: Any) -> bytes:
        try:
            return await answer(data, context)
        except Exception as error:
            failure = as_serving_error(error)
        await context.abort(_STATUS[failure.code], _cut(failure.message))
        raise AssertionError("abort always raises")

    return grpc.unary_unary_rpc_method_handler(handle)


def as_serving_error(error: Exception) -> ServingError:
    """Return what the caller is told about an error; what was not expected is logged."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, MemoryError):
        message = "Not enough memory for this request; send fewer values at a time"
        return ServingError(Code.RESOURCE_EXHAUSTED, message)
    log.error("A gRPC call failed", exc_info=error)
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def parsed(kind: type[Message], data: bytes) -> Any:
    """Read a request message."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise ServingError(
            Code.INTERNAL, f"The request is not a {kind.DESCRIPTOR.full_name}"
        ) from None


def check_model_spec(request: Any) -> Any:
    """Return a request's model_spec; refuse a request without one."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _cut(details: str) -> str:
    return details if len(details) <= MAX_DETAILS else details[:MAX_DETAILS] + TRUNCATED
