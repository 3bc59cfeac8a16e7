"""grpc.health.v1.Health, for load balancers that ask every server the same way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

# The health protocol's two messages look like these on the wire: a string, and a number.
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

SERVICES = ("", "ModelService", "PredictionService")
SERVING = 1
SERVICE_UNKNOWN = 3


def health_handlers() -> grpc.GenericRpcHandler:
    """Return the methods to register."""
    read, write = StringValue.FromString, Int32Value.SerializeToString
    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {
            "Check": grpc.unary_unary_rpc_method_handler(_check, read, write),
            "Watch": grpc.unary_stream_rpc_method_handler(_watch, read, write),
        },
    )


async def _check(request: Any, context: Any) -> Any:
    if request.value not in SERVICES:
        await context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
    return Int32Value(value=SERVING)


async def _watch(request: Any, context: Any) -> AsyncIterator[Any]:
    """Say the state, which never changes, and keep the stream open."""
    yield Int32Value(value=SERVING if request.value in SERVICES else SERVICE_UNKNOWN)
    await asyncio.Event().wait()
