"""A target that does not answer costs the supervisor one call, and is asked again beside it."""

import threading
from collections.abc import Sequence

import pytest

from tests.factories import make_target
from tests.fakes import FakeBackend
from tests.waiting import wait_for
from workspace import reach
from workspace.compute.base import BackendError, Node, Unreachable
from workspace.models import ComputeTarget, Team
from workspace.reach import Reach

pytestmark = pytest.mark.django_db
NO_ROUTE = Unreachable("No route to host.")


class HangingBackend(FakeBackend):
    """A target that takes calls and answers them when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answers = threading.Event()

    def check(self) -> Sequence[Node]:
        self.asked += 1
        self.answers.wait(20)
        return super().check()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> HangingBackend:
    hanging = HangingBackend()
    monkeypatch.setattr("workspace.reach.backend_for", lambda target: hanging)
    monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 0.0)
    return hanging


@pytest.fixture
def target(team: Team) -> ComputeTarget:
    return make_target(team)


def is_silent(target: ComputeTarget) -> bool:
    target.refresh_from_db()
    return target.unreachable_since is not None


def looks(reached: Reach) -> bool:
    reached.look()
    return True


def test_a_silent_target_is_told_of_and_not_called_again(
    target: ComputeTarget, backend: HangingBackend
):
    reached = Reach()
    assert reached.backend(target) is backend
    reached.lost(target, NO_ROUTE)
    assert is_silent(target)
    assert target.unreachable_because == "No route to host."
    with pytest.raises(Unreachable, match="No route to host"):
        reached.backend(target)


def test_a_target_that_hangs_holds_up_nobody(target: ComputeTarget, backend: HangingBackend):
    reached = Reach()
    reached.lost(target, NO_ROUTE)
    for _ in range(5):
        reached.look()
    assert backend.asked == 1, "one question at a time"
    assert is_silent(target)
    backend.answers.set()
    wait_for(lambda: looks(reached) and not is_silent(target), "the target to answer")
    assert reached.backend(target) is backend
    assert target.unreachable_because == ""


def test_a_target_that_stays_silent_is_asked_ever_more_seldom(
    target: ComputeTarget, backend: HangingBackend, monkeypatch: pytest.MonkeyPatch
):
    backend.answers.set()
    backend.silence = Unreachable("Connection refused.")
    monkeypatch.setattr(reach, "FIRST_PAUSE_SECONDS", 1000.0)
    reached = Reach()
    ComputeTarget.objects.update(unreachable_since="2026-01-01T00:00Z")
    wait_for(
        lambda: looks(reached) and ComputeTarget.objects.get().unreachable_because,
        "the new reason to be told",
    )
    asked = backend.asked
    reached.look()
    assert backend.asked == asked, "it is not asked again at once"


def test_one_that_answers_with_trouble_of_another_kind_is_not_silent(
    target: ComputeTarget, backend: HangingBackend, monkeypatch: pytest.MonkeyPatch
):
    def refuse() -> Sequence[Node]:
        raise BackendError("The engine is too old.")

    monkeypatch.setattr(backend, "check", refuse)
    reached = Reach()
    reached.lost(target, NO_ROUTE)
    wait_for(lambda: looks(reached) and not is_silent(target), "the target to answer")


def test_another_supervisor_knows_which_targets_are_silent(
    target: ComputeTarget, backend: HangingBackend
):
    Reach().lost(target, NO_ROUTE)
    successor = Reach()
    successor.look()
    with pytest.raises(Unreachable):
        successor.backend(target)
