"""The gateway's gRPC: calls of TensorFlow Serving's clients, passed to replicas as bytes.

Nothing is parsed: a key in the metadata names the service, and the method is a path. Imported only
by who listens, as importing grpc takes its time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from django.conf import settings

from deploy.events import ServiceName
from deploy.gateway.application import MAX_REPLICA_DEATHS, Gateway, NoReplicaAnswered, gateway
from deploy.gateway.authorization import AuthorizedCall, unauthorized
from deploy.gateway.credentials import Credentials, Headers, credentials_of
from deploy.gateway.errors import GatewayError
from deploy.gateway.routes import RevisionRoute
from deploy.gateway.traffic_split import pick_revision
from deploy.gateway.upstream import Upstream, UpstreamLost
from deploy.traffic.counters import RevisionLabel
from deploy.traffic.request_log import RequestRecord

Metadata = Sequence[tuple[str, str | bytes]]
Behaviour = Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]

RESPONSE_TIMEOUT_SECONDS = 60.0
MOST_CALLS = 1000
CONNECTION_AGE_MILLISECONDS = 3_600_000
CONNECTION_GRACE_MILLISECONDS = 120_000
SERVICE_KEY = "trainyard-service"
PREDICTION = "/tensorflow.serving.PredictionService/"
SCORING = {PREDICTION + name for name in ("Predict", "Classify", "Regress", "MultiInference")}
READING = {PREDICTION + "GetModelMetadata", "/tensorflow.serving.ModelService/GetModelStatus"}
NOT_PASSED_ON = {"authorization", "content-type", "cookie", SERVICE_KEY, "te", "user-agent"}
STATUS_DETAILS = "grpc-status-details-bin"
NO_CONNECTION = "failed to connect"

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# As HTTP has it, for the counters: what is 500 or more is the server's fault.
STATUSES = {code: status for status, code in CODES.items()} | {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.CANCELLED: 499,
}
SERVER_ERROR = 500


class ForwardedCalls(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Takes the calls that TensorFlow Serving answers, but for those that change a server."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method in SCORING | READING:
            # The same on the wire as a single message, which is read once its sender is known.
            return grpc.stream_unary_rpc_method_handler(_passing(details.method))
        return None


async def listen(host: str, port: int) -> grpc.aio.Server:
    """Answer gRPC on a port; raises OSError where it cannot be had."""
    server = grpc.aio.server(
        maximum_concurrent_rpcs=MOST_CALLS,
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", settings.TRAINYARD_SCORE_MAX_BYTES),
            ("grpc.max_send_message_length", -1),
            # No call stays open for longer than this and the grace, whatever its client does.
            ("grpc.max_connection_age_ms", CONNECTION_AGE_MILLISECONDS),
            ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MILLISECONDS),
        ],
    )
    server.add_generic_rpc_handlers((ForwardedCalls(),))
    try:
        server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    return server


def _passing(method: str) -> Behaviour:
    async def behave(requests: AsyncIterator[bytes], context: Any) -> bytes:
        try:
            return await _answer(gateway(), method, requests, context)
        except GatewayError as error:
            trailing = tuple(
                (name.decode(), value.decode())
                for name, value in error.headers.items()
                if name == b"retry-after"
            )
            code = CODES.get(error.status, grpc.StatusCode.INTERNAL)
            await context.abort(code, str(error), trailing)
            raise

    return behave


async def _answer(
    ours: Gateway, method: str, requests: AsyncIterator[bytes], context: Any
) -> bytes:
    ours.open()
    metadata: Metadata = context.invocation_metadata() or ()
    headers = [(name.encode(), _bytes(value)) for name, value in metadata]
    # A cookie is a page's, and pages do not speak gRPC.
    credentials = Credentials(credentials_of(headers).secret)
    name = await _name_of(ours, credentials, dict(headers).get(SERVICE_KEY.encode(), b""))
    entry = await ours.authorize(name, credentials, scores=method in SCORING)
    # Who sends no message takes no place of those who do.
    request = await _message_of(requests)
    ours.bodies.hold(request)
    try:
        return await _with_slot(ours, entry, headers, method, request, context)
    finally:
        ours.bodies.release(request)


async def _with_slot(
    ours: Gateway,
    entry: AuthorizedCall,
    headers: Headers,
    method: str,
    request: bytes,
    context: Any,
) -> bytes:
    ours.acquire_slot(entry)
    try:
        chosen = await ours.pick_revision(entry, headers)
        try:
            return await _forward_to_revision(ours, entry, chosen, method, request, context)
        except NoReplicaAnswered as none:
            others = await ours.fallbacks(entry, chosen)
            if not others or none.deaths >= MAX_REPLICA_DEATHS:
                raise
            return await _forward_to_revision(
                ours, entry, pick_revision(others), method, request, context
            )
    finally:
        ours.release_slot(entry)


async def _message_of(requests: AsyncIterator[bytes]) -> bytes:
    """Return the one message of a call, which has to arrive in time."""
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
            request = await anext(requests, None)
    except TimeoutError:
        raise GatewayError(
            408, f"The call's message did not arrive within {RESPONSE_TIMEOUT_SECONDS:.0f} s"
        ) from None
    if request is None:
        raise GatewayError(400, "The call ended without a message")
    return request


async def _name_of(ours: Gateway, credentials: Credentials, said: bytes) -> ServiceName:
    """Return the service that a call is for: the metadata say so, or the key is of it."""
    team, slash, service = said.decode(errors="replace").partition("/")
    if slash:
        return ServiceName(team, service)
    if said:
        raise GatewayError(400, f"Write the metadata {SERVICE_KEY} as TEAM/NAME")
    name = await ours.access.name_of_key(credentials.secret) if credentials.secret else None
    if name is None:
        raise unauthorized(
            "Send the metadata authorization: Bearer KEY with a key of the service; with an API"
            f" token, or none, name the service too: {SERVICE_KEY}: TEAM/NAME"
        )
    return name


async def _forward_to_revision(
    ours: Gateway,
    entry: AuthorizedCall,
    chosen: RevisionRoute,
    method: str,
    request: bytes,
    context: Any,
) -> bytes:
    """Pass a call to a revision and note how it went."""
    counters = ours.recorder.counters.of(chosen.pk, RevisionLabel(*entry.name, chosen.number))
    began = counters.begin()
    code, answer = grpc.StatusCode.UNAVAILABLE, b""
    try:
        answer = await _try_replicas(ours, chosen, method, request, context)
        code = grpc.StatusCode.OK
        return answer
    except grpc.aio.AioRpcError as error:
        code = error.code()
        await context.abort(code, error.details() or "", _passed_on(error.trailing_metadata()))
        raise
    except asyncio.CancelledError:
        remaining = context.time_remaining()
        is_late = remaining is not None and remaining <= 0
        code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
        raise
    finally:
        status = STATUSES.get(code, 500)
        took = counters.end(began, code.name, is_error=status >= SERVER_ERROR)
        if ours.recorder.request_log.is_sampled(entry.route.request_log):
            ours.recorder.request_log.add(
                RequestRecord(
                    entry.route.service_id,
                    chosen.pk,
                    entry.principal,
                    status,
                    took,
                    f"(gRPC {method}, {len(request):,} bytes)".encode(),
                    f"(gRPC {code.name}, {len(answer):,} bytes)".encode(),
                )
            )


async def _try_replicas(
    ours: Gateway, chosen: RevisionRoute, method: str, request: bytes, context: Any
) -> bytes:
    addresses = [address for address in chosen.replicas if address.grpc]
    if not addresses:
        raise GatewayError(501, "The replicas of this service do not answer gRPC: use REST")
    deaths = 0
    for upstream in ours.pool.by_load(addresses):
        upstream.in_flight += 1
        try:
            return await _ask(upstream, method, request, context)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            upstream.eject()
            deaths += NO_CONNECTION not in (error.details() or "")
        except UpstreamLost:
            deaths += 1
        finally:
            upstream.in_flight -= 1
            upstream.note_use()
        # A call that ends the replica it comes to must not end them all.
        if deaths >= MAX_REPLICA_DEATHS:
            break
    raise NoReplicaAnswered(deaths)


async def _ask(upstream: Upstream, method: str, request: bytes, context: Any) -> bytes:
    """Call a replica with the time that the client leaves, and hand back what it says beside.

    Raises Died where the replica hung and was given up.
    """
    remaining = context.time_remaining()
    call = upstream.grpc_channel().unary_unary(method)(
        request,
        timeout=RESPONSE_TIMEOUT_SECONDS
        if remaining is None
        else min(remaining, RESPONSE_TIMEOUT_SECONDS),
        metadata=_passed_on(context.invocation_metadata()),
    )
    upstream.waiting[call.cancel] = time.monotonic()
    try:
        answer: bytes = await call
    except asyncio.CancelledError:
        asking = asyncio.current_task()
        if asking is not None and asking.cancelling():
            raise
        raise UpstreamLost from None
    finally:
        del upstream.waiting[call.cancel]
    initial = _passed_on(await call.initial_metadata())
    if initial:
        await context.send_initial_metadata(initial)
    context.set_trailing_metadata(_passed_on(await call.trailing_metadata()))
    return answer


def _passed_on(metadata: Metadata | None) -> Metadata:
    """Leave out what is between two neighbours only, and who asks."""
    return tuple(
        (name, value)
        for name, value in metadata or ()
        if name not in NOT_PASSED_ON and (not name.startswith("grpc-") or name == STATUS_DETAILS)
    )


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
