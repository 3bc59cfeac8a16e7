"""A target that does not answer costs the supervisor one call, and is asked again beside it."""

from collections.abc import Sequence

import pytest

from tests.factories import make_target
from tests.fakes import SilentBackend, SlowBackend
from tests.waiting import wait_for
from workspace.compute.base import BackendError, Node, TargetUnreachable
from workspace.models import ComputeTarget, Team
from workspace.targets import reachability
from workspace.targets.reachability import Reachability
from workspace.targets.states import nodes_of

pytestmark = pytest.mark.django_db
NO_ROUTE = TargetUnreachable("No route to host.")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> SlowBackend:
    hanging = SlowBackend()
    monkeypatch.setattr("workspace.targets.reachability.backend_for", lambda target: hanging)
    monkeypatch.setattr(reachability, "FIRST_RETRY_SECONDS", 0.0)
    return hanging


@pytest.fixture
def target(team: Team) -> ComputeTarget:
    return make_target(team)


def is_silent(target: ComputeTarget) -> bool:
    target.refresh_from_db()
    return target.unreachable_since is not None


def looks(reached: Reachability) -> bool:
    reached.poll()
    return True


def test_a_silent_target_is_told_of_and_not_called_again(
    target: ComputeTarget, backend: SlowBackend
):
    reached = Reachability()
    assert reached.backend(target).observe == backend.observe
    reached.mark_unreachable(target, NO_ROUTE)
    assert is_silent(target)
    assert target.unreachable_reason == "No route to host."
    with pytest.raises(TargetUnreachable, match="No route to host"):
        reached.backend(target)


def test_a_target_that_hangs_holds_up_nobody(target: ComputeTarget, backend: SlowBackend):
    reached = Reachability()
    reached.mark_unreachable(target, NO_ROUTE)
    for _ in range(5):
        reached.poll()
    assert backend.asked == 1, "one question at a time"
    assert is_silent(target)
    backend.answers.set()
    wait_for(lambda: looks(reached) and not is_silent(target), "the target to answer")
    assert reached.backend(target).observe == backend.observe
    assert target.unreachable_reason == ""


def test_a_target_that_stays_silent_is_asked_ever_more_seldom(
    target: ComputeTarget, backend: SlowBackend, monkeypatch: pytest.MonkeyPatch
):
    backend.answers.set()
    backend.silence = TargetUnreachable("Connection refused.")
    monkeypatch.setattr(reachability, "FIRST_RETRY_SECONDS", 1000.0)
    reached = Reachability()
    ComputeTarget.objects.update(unreachable_since="2026-01-01T00:00Z")
    wait_for(
        lambda: looks(reached) and ComputeTarget.objects.get().unreachable_reason,
        "the new reason to be told",
    )
    asked = backend.asked
    reached.poll()
    assert backend.asked == asked, "it is not asked again at once"


def test_one_that_answers_with_trouble_of_another_kind_is_not_silent(
    target: ComputeTarget, backend: SlowBackend, monkeypatch: pytest.MonkeyPatch
):
    def refuse() -> Sequence[Node]:
        raise BackendError("The engine is too old.")

    monkeypatch.setattr(backend, "check", refuse)
    reached = Reachability()
    reached.mark_unreachable(target, NO_ROUTE)
    wait_for(lambda: looks(reached) and not is_silent(target), "the target to answer")


def test_another_supervisor_knows_which_targets_are_silent(
    target: ComputeTarget, backend: SlowBackend
):
    Reachability().mark_unreachable(target, NO_ROUTE)
    successor = Reachability()
    successor.poll()
    with pytest.raises(TargetUnreachable):
        successor.backend(target)


def test_one_whose_connection_breaks_with_a_foreign_error_stays_unreachable(
    target: ComputeTarget, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "workspace.targets.reachability.backend_for", lambda target: SilentBackend()
    )
    monkeypatch.setattr(reachability, "FIRST_RETRY_SECONDS", 0.0)
    reached = Reachability()
    reached.mark_unreachable(target, NO_ROUTE)
    wait_for(
        lambda: (
            looks(reached) and "reset by peer" in ComputeTarget.objects.get().unreachable_reason
        ),
        "the new reason to be told",
    )
    assert is_silent(target)


def test_a_slow_one_holds_up_no_page(
    target: ComputeTarget, backend: SlowBackend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workspace.targets.states.backend_for", lambda target: backend)
    monkeypatch.setattr("workspace.targets.states.CALL_TIMEOUT_SECONDS", 0.1)
    ComputeTarget.objects.update(kind="docker")
    target.refresh_from_db()
    try:
        with pytest.raises(TargetUnreachable, match="did not respond within"):
            nodes_of(target)
    finally:
        backend.answers.set()
