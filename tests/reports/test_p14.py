"""P14: work is bounded by the memory that it becomes, and health is answered beside it."""

import gzip
import json
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.modelserver import work_memory
from deploy.modelserver.errors import ServingError
from deploy.modelserver.http import inference
from deploy.modelserver.http.messages import RestRequest, RestResponse
from deploy.modelserver.http.rest import RestApi
from deploy.modelserver.monitoring import Metrics
from deploy.modelserver.signatures import Signature
from deploy.modelserver.work_memory import COUNTED, TooLargeForReplica, WorkMemory, parsed_size

MB = 10**6
LARGE = json.dumps({"instances": [0.5] * 500_000}).encode()


class HeldExecutor(Executor):
    """Runs what it was given when it is told to."""

    def __init__(self) -> None:
        self.held: list[Callable[[], Any]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.held.append(lambda: work(*args, **kwargs))
        return Future()

    def run(self) -> None:
        while self.held:
            self.held.pop(0)()


class Server:
    """The REST side of a server with one model, which returns its input."""

    def __init__(self) -> None:
        echo = Signature("serving_default", {"x": "float"}, ("y",), lambda feeds, *_: feeds)
        servable = SimpleNamespace(signatures={"serving_default": echo})
        version = SimpleNamespace(hold=lambda: servable, release=lambda: None)
        core: Any = SimpleNamespace(find=lambda *_: version, models={"m": None}, waiting=lambda: [])
        self.workers, self.reader = HeldExecutor(), HeldExecutor()
        self.api = RestApi(
            core, self.workers, self.reader, lambda work, *args: work(*args), METRICS
        )

    def ask(
        self, method: str, target: str, body: bytes = b"", *, is_gzip: bool = False
    ) -> list[RestResponse]:
        answers: list[RestResponse] = []
        self.api(RestRequest(method, target, body, True, is_gzip), answers.append)
        return answers

    def predict(self, body: bytes, *, is_gzip: bool = False) -> RestResponse:
        answers = self.ask("POST", "/v1/models/m:predict", body, is_gzip=is_gzip)
        self.reader.run()
        self.workers.run()
        (answer,) = answers
        return answer


METRICS = Metrics()


def call(work: Callable[..., Any], *args: Any) -> None:
    work(*args)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], WorkMemory]:
    def set_limit(left: int) -> WorkMemory:
        made = WorkMemory(lambda: left)
        monkeypatch.setattr(inference, "WORK_MEMORY", made)
        return made

    return set_limit


@pytest.mark.slow
def test_p14_health_is_answered_and_small_requests_run_while_large_ones_wait_to_be_read() -> None:
    server = Server()
    large = [server.ask("POST", "/v1/models/m:predict", LARGE) for _ in range(3)]
    (ready,) = server.ask("GET", "/readyz")
    small = server.ask("POST", "/v1/models/m:predict", b'{"instances": [1.0]}')
    assert len(server.workers.held) == 1
    server.workers.run()
    assert (ready.status, small[0].status, large) == (200, 200, [[], [], []])
    server.reader.run()
    server.workers.run()
    assert [answers[0].status for answers in large] == [200] * 3


def test_p14_what_the_replica_can_never_hold_is_413_and_what_it_cannot_hold_now_429(
    limit: Callable[[int], WorkMemory],
) -> None:
    limit(20 * MB)
    answer = Server().predict(LARGE)
    assert answer.status == 413
    assert b"give the service more memory" in answer.body
    memory = limit(100 * MB)
    with memory.hold(50 * MB):
        answer = Server().predict(LARGE)
    assert answer.status == 429
    assert b"Send it again later" in answer.body
    assert b"Retry-After: 1\r\n" in answer.headers
    assert Server().predict(b'{"instances": [1.0]}').status == 200


def test_p14_a_gzip_body_counts_by_what_it_becomes(limit: Callable[[int], WorkMemory]) -> None:
    limit(100 * MB)
    bomb = gzip.compress(b" " * 60 * MB)
    assert len(bomb) < 100_000
    assert Server().predict(bomb, is_gzip=True).status == 413
    small = gzip.compress(b'{"instances": [1.0]}')
    assert Server().predict(small, is_gzip=True).status == 200


def test_p14_an_answer_counts_as_its_text(
    limit: Callable[[int], WorkMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(100 * MB)
    assert Server().predict(LARGE).status == 200
    monkeypatch.setattr(inference, "ANSWER_BYTES", 10_000)
    assert Server().predict(LARGE).status == 413


def test_p14_what_was_held_is_given_back(limit: Callable[[int], WorkMemory]) -> None:
    memory = WorkMemory(lambda: 100 * MB)
    for _ in range(5):
        with memory.hold(50 * MB):
            pass
    with pytest.raises(ServingError), memory.hold(50 * MB), memory.hold(50 * MB):
        pass
    with pytest.raises(TooLargeForReplica), memory.hold(80 * MB):
        pass
    with memory.hold(75 * MB), memory.hold(COUNTED - 1):
        pass


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


# A busy machine may take its time over the values.
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_p14_no_document_takes_more_than_is_counted_for_it(value: Any) -> None:
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    assert size_of(orjson.loads(body)) <= parsed_size(body) + work_memory.STRING_BYTES


def size_of(value: Any) -> int:
    """Return what a parsed value takes, with a place in its container for each element."""
    own = sys.getsizeof(value)
    if isinstance(value, list):
        return own + 16 + sum(map(size_of, value))
    if isinstance(value, dict):
        return own + 16 + sum(size_of(key) + size_of(one) for key, one in value.items())
    return own
