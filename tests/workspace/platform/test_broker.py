"""What can do without the broker does not wait for it."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from workspace.platform import broker, wakeup


class Silent:
    """Stands in for a broker that takes connections and never says a word."""

    def __init__(self, path: Path) -> None:
        self._calls: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)

    def times_asked(self) -> int:
        with suppress(BlockingIOError):
            while True:
                self._calls.append(self._listener.accept()[0])
        return len(self._calls)

    def close(self) -> None:
        for one in (self._listener, *self._calls):
            one.close()


@pytest.fixture
def silent(tmp_path: Path, settings) -> Iterator[Silent]:
    made = Silent(tmp_path / "silent.sock")
    settings.REDIS_URL = f"unix://{tmp_path}/silent.sock"
    settings.BROKER_TIMEOUTS = {"socket_timeout": 0.05}
    broker.forget()
    yield made
    broker.forget()
    made.close()


def test_a_broker_that_hangs_is_waited_for_once_and_then_left_alone(
    silent: Silent, caplog: pytest.LogCaptureFixture
) -> None:
    wakeup.send()
    first = silent.times_asked()
    assert first
    for _ in range(20):
        wakeup.send()
    assert silent.times_asked() == first
    assert caplog.text.count("Could not wake the supervisor") == 1


def test_a_broker_that_hung_is_asked_again_after_a_rest(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeup.send()
    first = silent.times_asked()
    wakeup.send()
    assert silent.times_asked() == first
    monkeypatch.setattr(broker, "BACKOFF_SECONDS", 0.0)
    wakeup.send()
    assert silent.times_asked() > first
