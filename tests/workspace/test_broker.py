"""What can do without the broker does not wait for it."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace import bell, broker


@pytest.fixture
def asked(tmp_path: Path, settings) -> Iterator[list[socket.socket]]:
    """Stand in for a broker that takes connections and never says a word."""
    calls: list[socket.socket] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "silent.sock"))
    listener.listen()

    def take_calls() -> None:
        while True:
            try:
                calls.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take_calls)
    thread.start()
    settings.REDIS_URL = f"unix://{tmp_path}/silent.sock"
    settings.BROKER_PATIENCE = {"socket_timeout": 0.05}
    broker.connection.cache_clear()
    broker._complained_at.clear()
    yield calls
    broker.connection().close()
    broker.connection.cache_clear()
    broker._hung_at = float("-inf")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for call in calls:
        call.close()


def test_a_broker_that_hangs_is_waited_for_once_and_then_left_alone(
    asked: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    bell.ring()
    first = len(asked)
    assert first
    for _ in range(20):
        bell.ring()
    assert len(asked) == first
    assert caplog.text.count("The bell could not be rung") == 1


def test_a_broker_that_hung_is_asked_again_after_a_rest(asked: list[socket.socket]) -> None:
    bell.ring()
    first = len(asked)
    broker._hung_at = time.monotonic() - broker.LET_REST_SECONDS
    bell.ring()
    assert len(asked) > first
