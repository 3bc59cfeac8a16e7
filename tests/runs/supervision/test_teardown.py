"""The teardown of a group, of a run or a replica, also when its supervisor is killed halfway."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from runs.models import ProcessGroup
from runs.supervision.teardown import KILL_MARGIN, Teardown, remove_reappeared
from tests.factories import make_group, make_run
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import serve_targets_with
from workspace.models import Team
from workspace.targets.reachability import Reachability

pytestmark = pytest.mark.django_db
GRACE = timedelta(seconds=10)


class Killed(BaseException):
    """The supervisor was killed."""


@pytest.fixture
def group(team: Team, bob: User, backend: FakeBackend) -> ProcessGroup:
    group = make_group(make_run(team, bob), "worker-0", "worker-1")
    backend.alive[group.label] = {"worker-0", "worker-1"}
    return group


def is_gone(group: ProcessGroup, backend: FakeBackend) -> bool:
    """Tear a group down as a new supervisor would, which knows only what is stored."""
    return Teardown().stop_and_collect(ProcessGroup.objects.get(pk=group.pk), backend, GRACE)


def collect(group: ProcessGroup) -> None:
    group.processes.update(collected_at=timezone.now())


def grace_is_over(group: ProcessGroup) -> None:
    asked_at = timezone.now() - GRACE - KILL_MARGIN - timedelta(seconds=1)
    ProcessGroup.objects.filter(pk=group.pk).update(stop_requested_at=asked_at)


def test_a_group_is_stopped_and_removed_once_all_is_collected(
    group: ProcessGroup, backend: FakeBackend
) -> None:
    assert not is_gone(group, backend)
    assert not is_gone(group, backend)
    collect(group)
    assert is_gone(group, backend)
    assert [call for call, _ in backend.calls] == ["stop", "remove"]
    group.refresh_from_db()
    assert group.is_fenced
    assert group.removed_at


def test_a_group_that_does_not_end_is_killed_after_its_grace(
    group: ProcessGroup, backend: FakeBackend
) -> None:
    assert not is_gone(group, backend)
    grace_is_over(group)
    assert not is_gone(group, backend)
    assert is_gone(group, backend)
    assert [call for call, _ in backend.calls] == ["stop", "kill", "remove"]


def test_a_removed_group_is_left_alone(group: ProcessGroup, backend: FakeBackend) -> None:
    collect(group)
    assert is_gone(group, backend)
    backend.calls.clear()
    assert is_gone(group, backend)
    assert backend.calls == []


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["stop", "observe", "kill", "recover_outputs", "remove"])
def test_a_supervisor_killed_at_any_call_leaves_what_the_next_one_finishes(
    group: ProcessGroup,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    is_done: bool,
) -> None:
    real: Callable[..., Any] = getattr(backend, call)
    kills: list[str] = []

    def killed_once(*arguments: Any) -> Any:
        if not kills:
            kills.append(call)
            if is_done:
                real(*arguments)
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(backend, call, killed_once)
    for _ in range(4):
        try:
            if is_gone(group, backend):
                break
        except Killed:
            continue
        grace_is_over(group)
    assert kills
    assert is_gone(group, backend)
    assert group.label not in backend.alive


class ForgetfulBackend(FakeBackend):
    """An engine that was shut down before it wrote down what it had removed."""

    def group_ids(self) -> set[str]:
        return set(self.alive)


def test_what_was_removed_and_is_there_again_is_removed_again(
    team: Team, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = ForgetfulBackend()
    serve_targets_with(backend, monkeypatch)
    removed, lives = (make_group(make_run(team, bob), "worker-0") for _ in range(2))
    ProcessGroup.objects.filter(pk=removed.pk).mark_removed()
    backend.alive = {
        label: {"worker-0"} for label in (removed.label, lives.label, "of-a-newer-database")
    }
    remove_reappeared(Reachability())
    assert backend.alive.keys() == {lives.label, "of-a-newer-database"}
