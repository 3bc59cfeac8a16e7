"""What the launcher does with parts that end, stay, or were never asked."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.config.server.launched import LaunchedProduct, is_alive
from tests.waiting import wait_for

pytestmark = pytest.mark.processes
Launch = Callable[..., LaunchedProduct]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[LaunchedProduct] = []

    def launch(*parts: str, **environment: str) -> LaunchedProduct:
        one = LaunchedProduct(
            tmp_path, "-m", "tests.config.server.stand_ins", *parts, environment=environment
        )
        started.append(one)
        return one

    yield launch
    for one in started:
        one.end()


def test_what_a_part_says_is_shown_behind_its_name(launch: Launch) -> None:
    launched = launch("sleeps")
    launched.wait_to_hear("sleeps     | here\n")
    assert "\x1b" not in launched.said, "colours are for terminals"


def test_a_part_that_is_killed_starts_again_and_the_launcher_says_so(launch: Launch) -> None:
    launched = launch("sleeps")
    launched.wait_to_hear("here")
    first = launched.parts()["sleeps"]

    os.kill(first, signal.SIGKILL)

    launched.wait_to_hear("here", times=2)
    assert launched.parts()["sleeps"] != first
    assert "sleeps was killed by SIGKILL; it starts again in 0.2 s." in launched.said


def test_the_pause_before_a_part_starts_again_grows(launch: Launch) -> None:
    launched = launch("ends")
    launched.wait_to_hear("ends ended with 0", times=4)
    pauses = re.findall(r"starts again in ([\d.]+) s", launched.said)
    assert pauses[:4] == ["0.2", "0.4", "0.8", "1.6"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_parts(launch: Launch, number: signal.Signals) -> None:
    launched = launch("sleeps", "goodbye")
    launched.wait_to_hear("here", times=2)
    parts = launched.parts()

    launched.process.send_signal(number)

    assert launched.wait_for_end() == 0
    assert not any(is_alive(pid) for pid in parts.values())
    assert "starts again" not in launched.said


def test_what_others_need_is_stopped_last(launch: Launch) -> None:
    launched = launch("goodbye-last", "goodbye-first", "goodbye-second")
    launched.wait_to_hear("here", times=3)
    launched.stop()
    assert re.findall(r"goodbye-(\w+) was asked", launched.said)[-1] == "last"


def test_a_part_that_ignores_the_request_is_killed_with_all_it_started(launch: Launch) -> None:
    launched = launch("has_a_child", "is_stubborn")
    launched.wait_to_hear("child")
    launched.wait_to_hear("is_stubborn | here")
    found = re.search(r"child (\d+) is here", launched.said)
    assert found is not None
    pids = [int(found.group(1)), *launched.parts().values()]

    assert launched.stop() == 0

    wait_for(lambda: not any(map(is_alive, pids)), "the end of all processes")


def test_a_second_request_ends_everything_at_once(launch: Launch) -> None:
    launched = launch("is_stubborn")
    launched.wait_to_hear("here")
    launched.process.send_signal(signal.SIGINT)
    launched.wait_to_hear("Stopping")
    launched.process.send_signal(signal.SIGINT)
    assert launched.wait_for_end(seconds=7) == 0


def test_the_parts_die_with_a_launcher_that_is_killed(launch: Launch) -> None:
    launched = launch("sleeps", "is_stubborn")
    launched.wait_to_hear("here", times=2)
    parts = launched.parts()

    launched.process.kill()

    wait_for(lambda: not any(map(is_alive, parts.values())), "the end of the parts")


def test_a_reader_that_stops_reading_does_not_stop_the_parts(tmp_path: Path) -> None:
    flooded = tmp_path / "flooded"
    launcher = subprocess.Popen(
        [sys.executable, "-m", "tests.config.server.stand_ins", "floods"],
        env={**os.environ, "FLOODED": str(flooded)},
        stdout=subprocess.PIPE,
    )
    try:
        wait_for(flooded.exists, "the end of the flood", 60)
    finally:
        launcher.kill()
        launcher.communicate()
