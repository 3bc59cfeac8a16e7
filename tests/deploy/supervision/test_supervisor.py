"""Two supervisors decide nothing twice, and the trouble of one thing ends no tick of all others."""

from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import InterfaceError, OperationalError
from django.db.models import F
from redis import Redis

from deploy.management.commands import supervisor as command
from runs.launch import plan
from runs.models import Run
from runs.scheduling import admission
from runs.services import request_cancel
from runs.states import RunStatus
from runs.supervision import reconciler
from runs.supervision.reconciler import RunReconciler
from tests.fakes import FakeBackend
from tests.runs.conftest import backend, submit
from tests.runs.supervision.supervised_runs import Submit, build_environments
from workspace.one_look import found
from workspace.platform import leases
from workspace.platform.leases import Fence, Lease, LeaseLost

__all__ = ["backend", "submit"]  # fixtures

pytestmark = pytest.mark.django_db


def take_over(holder: str) -> Fence:
    """Take the duty of a supervisor that has not renewed its lease in time."""
    Lease.objects.filter(name=command.DUTY).update(expires_at=F("expires_at") - timedelta(hours=1))
    fence = leases.take(command.DUTY, holder)
    assert fence
    return fence


def tick_as(fence: Fence) -> None:
    with leases.fenced(fence):
        RunReconciler().tick()


def lose_to(holder: str) -> None:
    """Have another take over while this one is at it, and notice."""
    outside_of_any_duty(lambda: take_over(holder))
    leases.confirm()


def pause_in(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, meanwhile: Callable[[], object]
) -> None:
    """Have the first call of a function go on only after what happens meanwhile."""
    real, calls = getattr(module, name), iter([meanwhile])

    def paused(*arguments: Any) -> Any:
        result = real(*arguments)
        for happen in calls:
            outside_of_any_duty(happen)
        return result

    monkeypatch.setattr(module, name, paused)


def outside_of_any_duty(happen: Callable[[], object]) -> None:
    """Do something as another process would, which has no part in the duty of this one."""
    Context().run(happen)


@pytest.fixture
def first(backend: FakeBackend) -> Fence:
    fence = leases.take(command.DUTY, "first")
    assert fence
    return fence


@pytest.fixture(autouse=True)
def _connection_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "close_old_connections", lambda: None)


def test_one_that_was_paused_before_it_admitted_a_run_gives_nothing_away_twice(
    submit: Submit, first: Fence, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = submit(cpus_per_process=3)

    def another_goes_on() -> None:
        submit(cpus_per_process=3, priority=50)
        tick_as(take_over("second"))

    pause_in(monkeypatch, admission, "decide", another_goes_on)
    with pytest.raises(LeaseLost):
        tick_as(first)
    early.refresh_from_db()
    assert early.status == RunStatus.QUEUED
    assert Run.objects.exclude(status=RunStatus.QUEUED).count() == 1


def test_one_that_was_paused_before_it_started_processes_starts_none(
    submit: Submit, bob: User, backend: FakeBackend, first: Fence, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit()
    tick_as(first)
    build_environments()

    def another_ends_the_run() -> None:
        request_cancel(run, by=bob)
        request_cancel(run, by=bob)
        tick_as(take_over("second"))

    pause_in(monkeypatch, plan, "plan_of", another_ends_the_run)
    with pytest.raises(LeaseLost):
        tick_as(first)
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELED
    assert not backend.alive
    assert not [call for call, _ in backend.calls if call == "start"]


def test_one_that_was_paused_before_it_removed_processes_removes_none(
    submit: Submit, bob: User, backend: FakeBackend, first: Fence, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit()
    tick_as(first)
    build_environments()
    tick_as(first)
    request_cancel(run, by=bob)
    request_cancel(run, by=bob)
    pause_in(monkeypatch, reconciler, "latest_attempt", lambda: take_over("second"))
    with pytest.raises(LeaseLost):
        tick_as(first)
    assert backend.alive
    assert not [call for call, _ in backend.calls if call in {"kill", "remove"}]


def test_one_that_lost_its_duty_stands_by_and_comes_back(
    backend: FakeBackend, broker: Redis, monkeypatch: pytest.MonkeyPatch, submit: Submit
) -> None:
    run = submit()
    with monkeypatch.context() as paused:
        paused.setattr(RunReconciler, "tick", lambda runs: lose_to("second"))
        call_command("supervisor", once=True)
    call_command("supervisor", once=True)
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED, "the second has the duty"
    leases.release(command.DUTY, "second")
    call_command("supervisor", once=True)
    run.refresh_from_db()
    assert run.status == RunStatus.PREPARING


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_one_whose_database_is_away_ends_with_no_error(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*arguments: object) -> None:
        raise kind("The connection is closed.")

    for call in ("take", "release"):
        monkeypatch.setattr(leases, call, fail)
    call_command("supervisor", once=True)


PARTS = ["requeue_abandoned_builds", "recover_abandoned", "RunReconciler.tick"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_fails_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, broker: Redis, part: str
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError("a bug of ours")

    done: list[str] = []
    name = command.__name__
    monkeypatch.setattr(f"{name}.ServiceReconciler.tick", lambda _: done.append("services"))
    monkeypatch.setattr(f"{name}.request_maintenance", lambda: done.append("maintenance"))
    monkeypatch.setattr(f"{name}.{part}", fail)
    call_command("supervisor", once=True)
    assert done == ["services", "maintenance"]


def test_what_all_of_a_tick_needs_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(["first", "second"])
    seen: list[str] = []
    duty = lambda: seen.append(found("it", lambda: next(looks)))  # noqa: E731
    for name in ("requeue_abandoned_builds", "recover_abandoned"):
        monkeypatch.setattr(command, name, duty)
    supervisor = command.Supervisor()
    supervisor.tick()
    supervisor.tick()
    assert seen == ["first", "first", "second", "second"]
