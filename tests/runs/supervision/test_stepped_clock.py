"""A step of the wall clock in the midst of the supervisor's work ends no run."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count

import pytest
from django.utils import timezone

from runs.ingest import process_reports
from runs.states import RunStatus
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import (
    Submit,
    build_environments,
    processes,
    tick,
)
from workspace.platform.clock import clock_settings, forget_settings

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[timedelta], None]]:
    real = timezone.now
    forget_settings()
    yield lambda by: monkeypatch.setattr(timezone, "now", lambda: real() + by)
    forget_settings()


@pytest.fixture
def step_amid_calls(
    monkeypatch: pytest.MonkeyPatch, backend: FakeBackend, clock: Callable[[timedelta], None]
) -> Callable[[timedelta], None]:
    """Set the clock anew whenever the target is asked something, from now on."""

    def begin(step: timedelta) -> None:
        clock_settings()
        times = count(1)
        for name in ("start", "observe"):
            call = getattr(backend, name)

            def call_amid(given: object, call: Callable[[object], object] = call) -> object:
                clock(step * next(times))
                return call(given)

            monkeypatch.setattr(backend, name, call_amid)

    return begin


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_run_that_starts_is_not_too_late(
    submit: Submit, step_amid_calls: Callable[[timedelta], None], step: timedelta
) -> None:
    run = submit()
    tick(run)
    build_environments()
    step_amid_calls(step)
    for _ in range(3):
        assert tick(run).status == RunStatus.STARTING, run.end_detail
    (process,) = processes(run)
    assert process_reports.process_ready(process, node="here")
