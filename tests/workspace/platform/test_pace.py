import pytest

from workspace.platform.clock import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("workspace.platform.clock.time.monotonic", lambda: now[0])
    return now


def test_a_key_is_due_at_once_and_then_after_its_pause(clock: list[float]) -> None:
    looks = Pace(1.0)
    assert looks.is_due("a")
    assert not looks.is_due("a")
    clock[0] += 1.0
    assert looks.is_due("a")


def test_keys_are_counted_apart_and_may_have_their_own_pause(clock: list[float]) -> None:
    looks = Pace(1.0)
    assert looks.is_due("a")
    assert looks.is_due("b", 5.0)
    clock[0] += 2.0
    assert looks.is_due("a")
    assert not looks.is_due("b", 5.0)


def test_a_forgotten_key_is_due_at_once(clock: list[float]) -> None:
    looks = Pace(1.0)
    looks.is_due("a")
    looks.forget("a", "never seen")
    assert looks.is_due("a")
