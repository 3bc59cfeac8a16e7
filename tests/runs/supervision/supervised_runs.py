"""Take runs through the supervisor's hands in tests, with a target that does as it is told."""

from collections.abc import Callable

import pytest

from runs.ingest import process_reports
from runs.models import Process, ProcessGroup, Run
from runs.supervision import reconciler
from tests.fakes import FakeBackend
from workspace.models import Environment, EnvironmentState

Submit = Callable[..., Run]
TWO_WORKERS = {"type": "multi_worker", "worker_count": 2}


def serve_targets_with(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a backend serve every target, as the supervisor reaches them."""
    for module in (
        "runs.launch.plan",
        "workspace.targets.states",
        "workspace.targets.reachability",
    ):
        monkeypatch.setattr(f"{module}.backend_for", lambda target: backend)


def tick(run: Run, supervisor: reconciler.RunReconciler | None = None) -> Run:
    """Make one tick, of a supervisor that has just started if none is given."""
    (supervisor or reconciler.RunReconciler()).tick()
    run.refresh_from_db()
    return run


def build_environments() -> None:
    Environment.objects.update(state=EnvironmentState.READY, reference="here")


def processes(run: Run) -> list[Process]:
    """Return the processes of a run's latest attempt."""
    group = ProcessGroup.objects.filter(run=run).order_by("attempt").last()
    return list(Process.objects.filter(group=group)) if group else []


def bring_up(run: Run) -> Run:
    """Take a queued run to Running: its environment is built and all its runners are ready."""
    tick(run)
    build_environments()
    tick(run)
    for process in processes(run):
        process_reports.process_ready(process, node="here")
        process_reports.process_started(process)
    return tick(run)


def end(process: Process, code: int = 0, reason: str = "") -> None:
    process_reports.process_exited(process, exit_code=code, reason=reason, out_of_memory=False)
    process_reports.process_collected(process)


def leave(run: Run, backend: FakeBackend) -> None:
    """Have all processes of a run be gone from the target."""
    for group in ProcessGroup.objects.filter(run=run):
        backend.alive[group.label] = set()
