"""The gateway's gRPC, before replicas that answer, refuse, die and dawdle."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from deploy.access_policy import AccessChange, change_access
from deploy.models import (
    AccessPolicy,
    KeySlot,
    LoggedRequest,
    Replica,
    ReplicaState,
    Service,
    ServiceKey,
    Traffic,
)
from deploy.services import deploy
from deploy.traffic.log_policy import LogPolicy
from tests.deploy.conftest import RegisterModel
from tests.deploy.gateway.grpc_replicas import (
    PREDICT,
    Behaviour,
    FakeGrpcReplica,
    dying_replica,
    grpc_gateway,
    grpc_replica,
)
from tests.deploy.gateway_client import closed_port
from tests.factories import make_token
from tests.waiting import wait_for
from workspace.models import ComputeTarget, Scope, Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcFront:
    """The gateway's gRPC port before a service, and a caller of it."""

    def __init__(self, address: str, key: str, service: Service, fakes: list[FakeGrpcReplica]):
        self.key = key
        self.service = service
        self.fakes = fakes
        self.channel = grpc.insecure_channel(address, options=LARGE)

    def call(
        self, body: bytes = b"ask", *, method: str = PREDICT, timeout: float = 20, **metadata: str
    ) -> bytes:
        answer: bytes = self.with_call(body, method=method, timeout=timeout, **metadata)[0]
        return answer

    def with_call(
        self, body: bytes, *, method: str = PREDICT, timeout: float = 20, **metadata: str
    ) -> Any:
        said = {"authorization": f"Bearer {self.key}"} | {
            name.replace("_", "-"): value for name, value in metadata.items()
        }
        pairs = tuple((name, value) for name, value in said.items() if value)
        return self.channel.unary_unary(method).with_call(body, timeout=timeout, metadata=pairs)

    def error(self, body: bytes = b"ask", **options: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(body, **options)
        return caught.value


MakeGrpcFront = Callable[..., GrpcFront]


@pytest.fixture
def front(
    transactional_db: None, team: Team, bob: User, target: ComputeTarget, register: RegisterModel
) -> Iterator[MakeGrpcFront]:
    version = register()
    with ExitStack() as stack:
        address = stack.enter_context(grpc_gateway())

        def make(*behaviours: Behaviour | str) -> GrpcFront:
            made = deploy(team=team, by=bob, name="digits", version=version, target=target)
            fakes = []
            for number, behaviour in enumerate(behaviours):
                place = behaviour if isinstance(behaviour, str) else ""
                if not isinstance(behaviour, str):
                    fakes.append(stack.enter_context(grpc_replica(behaviour)))
                    place = fakes[-1].address
                Replica.objects.create(
                    revision=made.service.revisions.get(),
                    number=number,
                    address=f"127.0.0.1:{1 + number}",
                    grpc_address="" if place == "none" else place,
                    state=ReplicaState.READY,
                )
            there = GrpcFront(address, made.keys[KeySlot.PRIMARY], made.service, fakes)
            stack.callback(there.channel.close)
            return there

        yield make


def echo(request: bytes, context: Any) -> bytes:
    return b"echo " + request


# What passes


def test_the_bytes_and_the_metadata_pass_both_ways(front: MakeGrpcFront) -> None:
    def behave(request: bytes, context: Any) -> bytes:
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
        return request[::-1]

    there = front(behave)
    answer, call = there.with_call(b"\x00\x01abc", x_trace="7")
    assert answer == b"cba\x01\x00"
    assert ("x-first", "1") in call.initial_metadata()
    assert ("x-last-bin", b"\x00\xff") in call.trailing_metadata()
    [(method, metadata, body)] = there.fakes[0].calls
    assert (method, body) == (PREDICT, b"\x00\x01abc")
    assert metadata["x-trace"] == "7"
    assert "authorization" not in metadata


@pytest.mark.parametrize(
    "method",
    [
        *(f"/tensorflow.serving.PredictionService/{name}" for name in ("Classify", "Regress")),
        "/tensorflow.serving.PredictionService/MultiInference",
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        "/tensorflow.serving.ModelService/GetModelStatus",
    ],
)
def test_every_method_of_a_client_passes(front: MakeGrpcFront, method: str) -> None:
    assert front(echo).call(b"x", method=method) == b"echo x"


@pytest.mark.parametrize(
    "method", ["/tensorflow.serving.ModelService/HandleReloadConfigRequest", "/other.Service/Do"]
)
def test_what_would_change_a_replica_does_not_pass(front: MakeGrpcFront, method: str) -> None:
    there = front(echo)
    assert there.error(method=method).code() == grpc.StatusCode.UNIMPLEMENTED
    assert not there.fakes[0].calls


def test_a_status_passes_with_its_details(front: MakeGrpcFront) -> None:
    def behave(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x03"),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input x must be a float")
        return b""

    there = front(behave)
    error = there.error()
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "input x must be a float",
    )
    assert ("grpc-status-details-bin", b"\x08\x03") in error.trailing_metadata()


def test_the_clients_deadline_reaches_the_replica(front: MakeGrpcFront) -> None:
    seen: list[float] = []
    done = threading.Event()

    def behave(request: bytes, context: Any) -> bytes:
        if request != b"warm":
            seen.append(context.time_remaining())
            done.wait(20)
        return b""

    there = front(behave)
    there.call(b"warm")
    assert there.error(timeout=2).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    done.set()
    assert 0 < seen[0] < 3  # gRPC rounds it up on its way


def test_a_large_message_passes_and_one_over_the_limit_is_refused(
    front: MakeGrpcFront, settings: Settings
) -> None:
    there = front(lambda request, context: request)
    body = b"x" * (settings.TRAINYARD_SCORE_MAX_BYTES - 1)
    assert there.call(body) == body
    error = there.error(body + b"xx")
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(settings.TRAINYARD_SCORE_MAX_BYTES) in error.details()


# Replicas in trouble


def test_a_replica_that_refuses_or_dies_is_passed_over(front: MakeGrpcFront) -> None:
    with dying_replica() as (dying, received):
        there = front(closed_port(), dying, echo, closed_port())
        assert [there.call() for _ in range(20)] == [b"echo ask"] * 20
    assert received


def test_a_call_that_ends_replicas_does_not_end_them_all(front: MakeGrpcFront) -> None:
    with ExitStack() as stack:
        dying = [stack.enter_context(dying_replica()) for _ in range(4)]
        there = front(*(address for address, _ in dying))
        error = there.error()
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert "No replica" in error.details()
        assert sum(len(received) for _, received in dying) == 2


def test_calls_that_wait_for_a_replica_that_hangs_go_elsewhere(front: MakeGrpcFront) -> None:
    over = threading.Event()

    def hang(request: bytes, context: Any) -> bytes:
        over.wait(60)
        return b"too late"

    there = front(hang, echo)
    try:
        bearer = (("authorization", f"Bearer {there.key}"),)
        predict = there.channel.unary_unary(PREDICT)
        calls = [predict.future(b"ask", metadata=bearer, timeout=30) for _ in range(8)]
        wait_for(lambda: there.fakes[0].calls, "a call at the replica that hangs")
        Replica.objects.filter(number=0).update(state=ReplicaState.UNHEALTHY)
        assert [call.result() for call in calls] == [b"echo ask"] * 8
    finally:
        over.set()


def test_replicas_without_grpc_are_said_to_have_none(front: MakeGrpcFront) -> None:
    error = front("none").error()
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "REST" in error.details()


def test_a_service_without_replicas_is_unavailable(front: MakeGrpcFront) -> None:
    error = front().error()
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "not ready" in error.details()


# Who may


def test_a_call_without_a_key_hears_how_to_send_one(front: MakeGrpcFront) -> None:
    there = front(echo)
    for wrong in ("", "Bearer tk_wrong", "Basic x", "Bearer ty_wrong"):
        error = there.error(authorization=wrong)
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "authorization: Bearer KEY" in error.details()
    assert not there.fakes[0].calls


def test_a_call_without_a_key_is_refused_before_its_message_is_read(front: MakeGrpcFront) -> None:
    over = threading.Event()

    def messages() -> Iterator[bytes]:
        yield from ()
        over.wait(20)

    try:
        with pytest.raises(grpc.RpcError) as caught:
            front().channel.stream_unary(PREDICT)(messages(), timeout=20)
    finally:
        over.set()
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_call_without_a_message_is_refused(front: MakeGrpcFront) -> None:
    there = front()
    bearer = (("authorization", f"Bearer {there.key}"),)
    with pytest.raises(grpc.RpcError) as caught:
        there.channel.stream_unary(PREDICT)(iter(()), metadata=bearer, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_token_opens_the_service_that_the_metadata_name(
    front: MakeGrpcFront, bob: User, vera: User
) -> None:
    there = front(echo)
    token = f"Bearer {make_token(bob, Scope.WRITE)}"
    assert there.call(authorization=token, trainyard_service="default/digits") == b"echo ask"
    codes = [
        there.error(authorization=token).code(),
        there.error(authorization=token, trainyard_service="default/other").code(),
        there.error(authorization=token, trainyard_service="digits").code(),
        there.error(
            authorization=f"Bearer {make_token(vera)}", trainyard_service="default/digits"
        ).code(),
    ]
    assert [code.name for code in codes] == [
        "UNAUTHENTICATED",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
        "PERMISSION_DENIED",
    ]


def test_an_open_service_needs_its_name_only(front: MakeGrpcFront, bob: User) -> None:
    there = front(echo)
    change_access(
        service=there.service, by=bob, change=AccessChange(access_policy=AccessPolicy.PUBLIC)
    )
    assert there.call(authorization="", trainyard_service="default/digits") == b"echo ask"


def test_a_key_over_its_limit_hears_when_to_come_again(front: MakeGrpcFront) -> None:
    there = front(echo)
    ServiceKey.objects.update(calls_per_minute=2)
    assert [there.call() for _ in range(2)] == [b"echo ask"] * 2
    error = there.error()
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0 < int(dict(error.trailing_metadata())["retry-after"]) <= 60


# What is noted


def test_calls_are_counted_and_logged(
    front: MakeGrpcFront, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.traffic.counters.INTERVAL_SECONDS", 1)

    def behave(request: bytes, context: Any) -> bytes:
        if request == b"bad":
            context.abort(grpc.StatusCode.INTERNAL, "the model broke")
        return request

    there = front(behave)
    change_access(
        service=there.service, by=bob, change=AccessChange(request_log=LogPolicy(sample=1.0))
    )
    there.call(b"good")
    there.error(b"bad")
    wait_for(lambda: LoggedRequest.objects.count() == 2, "two requests in the log")
    rows = list(Traffic.objects.all())
    assert sum(row.requests for row in rows) == 2
    assert sum(row.errors for row in rows) == 1
    assert [logged.status for logged in LoggedRequest.objects.order_by("pk")] == [200, 500]
    assert ServiceKey.objects.get(slot=KeySlot.PRIMARY).use_count == 2


def test_a_message_that_does_not_arrive_ends_its_call(
    front: MakeGrpcFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.grpc_server.RESPONSE_TIMEOUT_SECONDS", 0.2)
    made = front(echo)
    is_over = threading.Event()

    def never() -> Iterator[bytes]:
        is_over.wait(60)
        yield from ()

    try:
        with pytest.raises(grpc.RpcError) as caught:
            made.channel.stream_unary(PREDICT)(
                never(), timeout=60, metadata=(("authorization", f"Bearer {made.key}"),)
            )
    finally:
        is_over.set()
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "did not arrive" in error.details()


def test_calls_without_a_message_take_no_place_of_those_with_one(
    front: MakeGrpcFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.application.MAX_IN_FLIGHT", 1)
    made = front(echo)
    is_over = threading.Event()

    def never() -> Iterator[bytes]:
        is_over.wait(60)
        yield from ()

    bearer = (("authorization", f"Bearer {made.key}"),)
    silent = [
        made.channel.stream_unary(PREDICT).future(never(), timeout=60, metadata=bearer)
        for _ in range(5)
    ]
    try:
        assert [made.call() for _ in range(20)] == [b"echo ask"] * 20
        assert not any(call.done() for call in silent)
    finally:
        is_over.set()


def test_messages_that_are_too_much_together_are_refused(
    front: MakeGrpcFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.request_bodies.MAX_HELD_BYTES", 100_000)
    over = threading.Event()

    def dawdle(request: bytes, context: Any) -> bytes:
        over.wait(60)
        return b"answer"

    made = front(dawdle)
    bearer = (("authorization", f"Bearer {made.key}"),)
    held = made.channel.unary_unary(PREDICT).future(b"a" * 60_000, timeout=60, metadata=bearer)
    try:
        wait_for(lambda: made.fakes[0].calls, "the first call at the replica")
        error = made.error(b"b" * 60_000)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "Too many large requests" in error.details()
    finally:
        over.set()
    assert held.result() == b"answer"
    assert made.call(b"b" * 60_000) == b"answer"


@pytest.mark.parametrize(
    "metadata",
    [[("x-large", "a" * 1_000_000)], [(f"x-{number}", "a") for number in range(10_000)]],
    ids=["a large field", "many fields"],
)
def test_metadata_without_bounds_are_refused(
    front: MakeGrpcFront, metadata: list[tuple[str, str]]
) -> None:
    made = front(echo)
    with pytest.raises(grpc.RpcError) as caught:
        made.channel.unary_unary(PREDICT)(b"ask", timeout=60, metadata=metadata)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert made.call() == b"echo ask"
