"""Targets that never answer cost their own team's threads, and no other's."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from redis import Redis

from tests.factories import make_target, make_team, make_user
from tests.fakes import FakeBackend
from tests.waiting import wait_for
from workspace.compute.base import Node, TargetUnreachable
from workspace.models import ComputeTarget, Team
from workspace.targets import pools, states
from workspace.targets.poller import poll_all_targets
from workspace.targets.states import nodes_of
from workspace.targets.timeouts import MAX_CALLS_AT_ONCE, call_result, start_call

pytestmark = pytest.mark.django_db
SHORT = 0.05


class Engine(FakeBackend):
    """An engine that answers, or hangs until it may answer, whatever it is asked."""

    def __init__(self, may_answer: threading.Event, *, hangs: bool) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._may_answer = may_answer
        self._hangs = hangs

    def check(self) -> Sequence[Node]:
        self._be_asked("nodes")
        return super().check()

    def machines_id(self) -> str:
        self._be_asked("pool")
        return "these machines"

    def _be_asked(self, what: str) -> None:
        self.asked.append(what)
        if self._hangs:
            self._may_answer.wait(20)


@pytest.fixture
def may_answer() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def engines(
    monkeypatch: pytest.MonkeyPatch, may_answer: threading.Event, broker: Redis
) -> dict[str, Engine]:
    """Return the engines by the names of their targets: those that are called black hang."""
    found: dict[str, Engine] = {}

    def engine_of(target: ComputeTarget) -> Engine:
        hangs = target.name.startswith("black")
        return found.setdefault(target.name, Engine(may_answer, hangs=hangs))

    for module in (states, pools):
        monkeypatch.setattr(module, "backend_for", engine_of)
        monkeypatch.setattr(module, "CALL_TIMEOUT_SECONDS", SHORT)
    return found


def make_engine(team: Team, name: str) -> ComputeTarget:
    return make_target(team, name, kind="docker", address=f"tcp://{name}:2376")


def test_a_team_of_black_holes_starves_no_other(team: Team, engines: dict[str, Engine]) -> None:
    hostile = make_team("hostile", admin=make_user("mallory"))
    for number in range(3 * MAX_CALLS_AT_ONCE):
        make_engine(hostile, f"black-{number}")
    well = make_engine(team, "well")

    def hung() -> int:
        return sum(len(engine.asked) for name, engine in engines.items() if name != "well")

    def is_known() -> bool:
        poll_all_targets()
        well.refresh_from_db()
        with suppress(TargetUnreachable):
            return bool(nodes_of(well)) and well.pool == "these machines"
        return False

    wait_for(lambda: is_known() and hung() >= MAX_CALLS_AT_ONCE, "the well target to be known")
    assert hung() == MAX_CALLS_AT_ONCE


def test_a_target_that_hangs_is_asked_each_thing_once(
    team: Team, engines: dict[str, Engine], may_answer: threading.Event
) -> None:
    target = make_engine(team, "black")

    for _ in range(3):
        poll_all_targets()
    with pytest.raises(TargetUnreachable, match="did not respond"):
        nodes_of(target)
    wait_for(lambda: len(engines["black"].asked) > 1, "the engine to be asked")
    assert sorted(engines["black"].asked) == ["nodes", "pool"]

    may_answer.set()

    def is_known() -> bool:
        poll_all_targets()
        target.refresh_from_db()
        return bool(target.pool)

    wait_for(is_known, "the engine to be known")


def test_an_engine_at_a_new_address_is_asked_beside_the_hanging_old_one(
    team: Team, engines: dict[str, Engine]
) -> None:
    target = make_engine(team, "black")
    poll_all_targets()
    target.address = "tcp://elsewhere:2376"
    target.save()

    poll_all_targets()

    wait_for(lambda: engines["black"].asked.count("nodes") > 1, "the engine to be asked again")


def test_what_nobody_waits_for_any_more_is_never_asked(may_answer: threading.Event) -> None:
    hanging = [
        start_call(lambda: may_answer.wait(20), group="some team", key=number)
        for number in range(MAX_CALLS_AT_ONCE)
    ]
    asked: list[str] = []
    given_up = start_call(lambda: asked.append("given up"), group="some team", key="given up")
    with pytest.raises(TargetUnreachable, match="other targets of its team"):
        call_result(given_up, 0)
    wanted = start_call(lambda: asked.append("wanted"), group="some team", key="wanted")

    may_answer.set()

    assert all(call_result(one) for one in hanging)
    call_result(wanted)
    assert asked == ["wanted"]


def test_what_goes_wrong_reaches_who_asked_and_the_next_question_is_a_new_one() -> None:
    def refused() -> str:
        raise TargetUnreachable("Connection refused.")

    with pytest.raises(TargetUnreachable, match="Connection refused"):
        call_result(start_call(refused, group="some team", key="a"))
    assert call_result(start_call(lambda: "well", group="some team", key="a")) == "well"
