"""The gateway, before replicas that answer, refuse, die, dawdle and talk nonsense."""

import gzip
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from deploy.models import KeySlot, Service, ServiceState
from deploy.services import delete, deploy
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from tests.deploy.fake_replicas import answers, sends, waits
from tests.deploy.gateway_client import SCORE, SERVE, GatewayClient, MakeFront, closed_port
from tests.factories import make_team, make_token
from tests.waiting import wait_for
from workspace.accounts.services import revoke_token
from workspace.models import ApiToken, ComputeTarget, Membership, Scope, Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def version(register: RegisterModel) -> ModelVersion:
    return register()


# What passes


def test_the_body_and_the_answer_pass_untouched(front: MakeFront) -> None:
    text = b'{"predictions": [NaN, 1.0],   "x":"\xc3\xa9"}'
    there = front(answers(text))
    body = b'{"instances" :  [[1.0, NaN]]}\n'
    answer = there.call(body, headers={"X-Custom": "yes", "Cookie": "sessionid=secret"})
    assert answer.status == 200
    assert answer.body == text
    assert answer.headers["Content-Type"] == "application/json"
    head, _, received = there.fakes[0].requests[0].partition(b"\r\n\r\n")
    assert received == body
    assert head.startswith(b"POST /v1/models/digits:predict HTTP/1.1\r\n")
    assert b"x-custom: yes" in head.lower()
    assert there.key.encode() not in head
    assert b"sessionid" not in head


def test_serving_paths_pass_as_they_are_without_the_query(front: MakeFront) -> None:
    there = front(answers(b"{}"))
    for method, path in (
        ("GET", SERVE),
        ("GET", f"{SERVE}/versions/1/metadata"),
        ("POST", f"{SERVE}/labels/a%2Fb:predict"),
        ("GET", f"{SERVE}/labels/stable"),
        ("POST", f"{SERVE}:classify"),
        ("POST", f"{SERVE}/versions/2:regress"),
        ("OPTIONS", f"{SERVE}:predict"),
    ):
        status, _ = there.ask(
            b"{}" if method == "POST" else None, method=method, path=f"{path}?q=1"
        )
        assert status == 200
    lines = [request.split(b"\r\n")[0].decode() for request in there.fakes[0].requests]
    assert lines == [
        "GET /v1/models/digits HTTP/1.1",
        "GET /v1/models/digits/versions/1/metadata HTTP/1.1",
        "POST /v1/models/digits/labels/a%2Fb:predict HTTP/1.1",
        "GET /v1/models/digits/labels/stable HTTP/1.1",
        "POST /v1/models/digits:classify HTTP/1.1",
        "POST /v1/models/digits/versions/2:regress HTTP/1.1",
        "OPTIONS /v1/models/digits:predict HTTP/1.1",
    ]


def test_an_error_of_the_model_passes_with_its_status(front: MakeFront) -> None:
    error = b'{"error": "input x must be a float"}'
    there = front(
        sends(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(error), error))
    )
    assert there.ask() == (400, {"error": "input x must be a float"})


def test_a_compressed_body_stays_compressed(front: MakeFront) -> None:
    there = front(answers(b"{}"))
    packed = gzip.compress(b'{"instances": [1]}')
    there.ask(packed, headers={"Content-Encoding": "gzip"})
    head, _, body = there.fakes[0].requests[0].partition(b"\r\n\r\n")
    assert body == packed
    assert b"content-encoding: gzip" in head.lower()


def test_large_and_chunked_bodies_pass_both_ways(front: MakeFront) -> None:
    large = json.dumps(["x" * 1000] * 5000).encode()
    there = front(answers(large))
    assert there.call(large).body == large
    pieces = (large[start : start + 100_000] for start in range(0, len(large), 100_000))
    assert there.call(pieces).body == large
    assert there.fakes[0].requests[1].endswith(large)


def test_a_chunked_answer_arrives_whole(front: MakeFront) -> None:
    there = front(
        sends(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'5\r\n{"a":\r\n4\r\n 12}\r\n0\r\n\r\n'
        )
    )
    assert there.ask() == (200, {"a": 12})


def test_connections_to_a_replica_are_kept(front: MakeFront) -> None:
    there = front(answers(b"{}"))
    for _ in range(20):
        assert there.ask() == (200, {})
    assert len(there.fakes[0].connections) == 1


def test_a_kept_connection_that_was_closed_is_no_error(front: MakeFront) -> None:
    there = front(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    assert [there.ask() for _ in range(5)] == [(200, {})] * 5


def test_requests_spread_over_replicas_by_load(front: MakeFront) -> None:
    done = threading.Event()
    there = front(*(waits(done, answers(b"{}")) for _ in range(3)))
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(there.ask) for _ in range(6)]
        wait_for(
            lambda: all(len(fake.requests) == 2 for fake in there.fakes), "two requests at each"
        )
        done.set()
        assert [call.result() for call in calls] == [(200, {})] * 6
    assert [len(fake.requests) for fake in there.fakes] == [2, 2, 2]


# Replicas in trouble


def test_a_replica_that_refuses_is_passed_over(front: MakeFront) -> None:
    there = front(closed_port(), answers(b"{}"), closed_port())
    assert [there.ask()[0] for _ in range(10)] == [200] * 10


def test_a_replica_that_dies_before_it_answers_is_passed_over(front: MakeFront) -> None:
    there = front(sends(b""), answers(b"{}"))
    assert [there.ask()[0] for _ in range(10)] == [200] * 10


def test_a_request_that_ends_replicas_does_not_end_them_all(front: MakeFront) -> None:
    there = front(*(sends(b"") for _ in range(4)))
    answer = there.call()
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    assert sum(len(fake.requests) for fake in there.fakes) == 2


def test_a_request_on_a_kept_connection_that_ends_replicas_does_not_end_them_all(
    front: MakeFront,
) -> None:
    answered = answers(b"{}")

    def answer_or_end(connection: socket.socket, request: bytes) -> bool:
        if b"deadly" not in request:
            return answered(connection, request)
        listener = listeners[connection.getsockname()]
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        return False

    there = front(*[answer_or_end] * 4)
    listeners = {fake.listener.getsockname(): fake.listener for fake in there.fakes}
    for _ in range(100):
        assert there.ask() == (200, {})
    assert all(fake.requests for fake in there.fakes)
    assert there.ask(b'{"instances": ["deadly"]}')[0] == 503
    assert sum(b"deadly" in request for fake in there.fakes for request in fake.requests) == 2


def test_an_answer_cut_short_is_not_passed_off_as_whole(front: MakeFront) -> None:
    there = front(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))
    with pytest.raises(http.client.IncompleteRead):
        there.call()


def test_garbage_from_a_replica_is_a_bad_gateway(front: MakeFront) -> None:
    there = front(sends(b"\x00\x01 this is no HTTP\r\n\r\n"))
    assert there.ask() == (502, {"error": "Invalid HTTP response from the model server"})


def test_a_replica_that_talks_nonsense_is_left_out_for_a_moment(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.upstream.EJECTION_SECONDS", 60.0)
    there = front(sends(b"\x00\x01 this is no HTTP\r\n\r\n"), answers(b"{}"))
    statuses = [there.ask()[0] for _ in range(10)]
    assert statuses.count(502) <= 1, statuses


def test_no_replica_is_an_unready_service_with_the_reason(front: MakeFront) -> None:
    there = front()
    Service.objects.update(state=ServiceState.TRANSITIONING, state_reason="The model is loading.")
    answer = there.call()
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert json.loads(answer.body) == {
        "error": "This service is not ready, it is Transitioning: The model is loading."
    }


def test_a_model_that_dawdles_is_given_up(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.application.RESPONSE_TIMEOUT_SECONDS", 0.3)
    there = front(waits(threading.Event(), answers(b"{}")))
    status, answer = there.ask()
    assert status == 504
    assert "did not answer within" in answer["error"]


def test_too_many_at_once_are_told_to_come_again(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.application.MAX_IN_FLIGHT", 2)
    done = threading.Event()
    there = front(waits(done, answers(b"{}")))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(there.ask) for _ in range(2)]
        wait_for(lambda: len(there.fakes[0].requests) == 2, "two requests at the replica")
        answer = there.call()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        done.set()
        assert [call.result()[0] for call in calls] == [200, 200]
    assert there.ask()[0] == 200


# Requests in trouble


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused(
    front: MakeFront, settings: Settings, is_chunked: bool
) -> None:
    settings.TRAINYARD_SCORE_MAX_BYTES = 100_000
    there = front(answers(b"{}"))
    assert there.ask(b"x" * 100_000)[0] == 200
    body: Any = iter([b"x" * 50_000] * 3) if is_chunked else b"x" * 100_001
    status, answer = there.ask(body)
    assert status == 413
    assert "100,000 bytes" in answer["error"]
    assert len(there.fakes[0].requests) == 1


def half_a_request(there: GatewayClient) -> socket.socket:
    place = urlsplit(there.web)
    connection = socket.create_connection((place.hostname or "", place.port or 0), timeout=20)
    connection.sendall(
        f"POST {SCORE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {there.key}\r\n"
        'Content-Length: 1000\r\n\r\n{"instances": '.encode()
    )
    return connection


def test_a_body_that_never_ends_is_told_to_be_too_late(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.application.RESPONSE_TIMEOUT_SECONDS", 0.3)
    there = front(answers(b"{}"))
    with half_a_request(there) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert not there.fakes[0].requests


def test_bodies_that_come_slowly_take_no_place_from_others(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.application.MAX_IN_FLIGHT", 1)
    there = front(answers(b"{}"))
    with half_a_request(there), half_a_request(there):
        assert there.ask()[0] == 200


def test_bodies_together_may_not_fill_the_memory(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.request_bodies.MAX_HELD_BYTES", 100_000)
    there = front(answers(b"{}"))
    answer = there.call(b"x" * 100_001)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert [there.ask(b"x" * 99_000)[0] for _ in range(3)] == [200] * 3


def test_bodies_of_requests_under_way_count_until_they_are_answered(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.request_bodies.MAX_HELD_BYTES", 100_000)
    done = threading.Event()
    there = front(waits(done, answers(b"{}")))
    for size in (60_000, 99_000):
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(there.ask, b"x" * size)
            wait_for(lambda: there.fakes[0].requests, "the first request at its replica")
            assert there.ask(b"x" * 60_000)[0] == 429
            done.set()
            assert first.result()[0] == 200
        done.clear()
        there.fakes[0].requests.clear()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SCORE, 405),
        ("DELETE", SERVE, 405),
        ("POST", "/serve/default/digits/metrics", 404),
        ("POST", "/serve/default/digits/v2/models/digits", 404),
        ("POST", "/serve/default", 404),
        ("POST", "/serve/default/other/v1/models/digits:predict", 404),
        ("POST", "/api/v1/teams/default/services/other/score", 404),
        ("POST", "/api/v1/teams/nobody/services/digits/score", 404),
        ("POST", "/api/v1/teams/%00/services/%ff/score", 404),
    ],
)
def test_what_is_not_there_is_said_in_the_serving_form(
    front: MakeFront, method: str, path: str, status: int
) -> None:
    there = front(answers(b"{}"))
    body = b"{}" if method == "POST" else None
    found, answer = there.ask(body, method=method, path=path)
    assert (found, list(answer)) == (status, ["error"])
    assert not there.fakes[0].requests


# Who may


@pytest.mark.parametrize("secret", ["", "tk_wrong", "ty_wrong", "\xe9\xff", "tk_" + "x" * 5000])
def test_a_bad_key_is_refused(front: MakeFront, secret: str) -> None:
    there = front(answers(b"{}"))
    answer = there.call(secret=secret)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert list(json.loads(answer.body)) == ["error"]


def test_both_keys_open_and_other_schemes_do_not(front: MakeFront) -> None:
    there = front(answers(b"{}"))
    assert there.ask()[0] == 200
    basic = {"Authorization": f"Basic {there.key}"}
    assert there.ask(secret="", headers=basic)[0] == 401


def test_tokens_of_members_open_and_others_do_not(
    front: MakeFront, bob: User, vera: User, charlie: User
) -> None:
    there = front(answers(b"{}"))
    assert there.ask(secret=make_token(bob, Scope.WRITE))[0] == 200
    assert there.ask(secret=make_token(bob, Scope.READ))[0] == 403
    assert there.ask(secret=make_token(vera))[0] == 403
    assert there.ask(None, method="GET", path=SERVE, secret=make_token(vera))[0] == 200
    assert there.ask(secret=make_token(charlie))[0] == 404
    assert there.ask(secret=make_token(bob, days=-1))[0] == 401


def test_a_token_is_refused_soon_after_it_is_revoked_or_its_holder_leaves(
    front: MakeFront, bob: User
) -> None:
    there = front(answers(b"{}"))
    revoked, leaving = make_token(bob), make_token(bob)
    assert there.ask(secret=revoked)[0] == there.ask(secret=leaving)[0] == 200
    revoke_token(token=ApiToken.objects.all()[0])
    wait_for(lambda: there.ask(secret=revoked)[0] == 401, "the refusal of a revoked token")
    Membership.objects.filter(user=bob).delete()
    wait_for(lambda: there.ask(secret=leaving)[0] == 404, "the refusal of one who left")


def test_a_key_opens_its_own_service_only(
    front: MakeFront, bob: User, team: Team, target: ComputeTarget, version: ModelVersion
) -> None:
    there = front(answers(b"{}"))
    sibling = deploy(team=team, by=bob, name="sibling", version=version, target=target)
    assert there.ask(secret=sibling.keys[KeySlot.PRIMARY])[0] == 401
    theirs = make_team("theirs", member=bob)
    foreign = deploy(team=theirs, by=bob, name="digits", version=version, target=target)
    assert there.ask(secret=foreign.keys[KeySlot.PRIMARY])[0] == 404


def test_a_deleted_service_answers_no_more(front: MakeFront, bob: User) -> None:
    there = front(answers(b"{}"))
    token = make_token(bob)
    assert there.ask(secret=token)[0] == 200
    delete(service=there.service, by=bob)
    assert there.ask(secret=token)[0] == 404
    assert there.ask()[0] == 401
