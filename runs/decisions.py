"""What a sighting of a group of processes means for its run. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runs.config import Mode
from runs.states import EndReason, ProcessState

EVALUATOR_GRACE = timedelta(minutes=5)


@dataclass(frozen=True)
class Seen:
    """One process as last reported by its runner; `is_alive` is what the backend says of it."""

    role: str
    index: int
    state: ProcessState
    exit_code: int | None = None
    reason: str = ""
    out_of_memory: bool = False
    exited_at: datetime | None = None
    is_alive: bool = True

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"

    @property
    def has_failed(self) -> bool:
        return self.state == ProcessState.EXITED and self.exit_code != 0

    @property
    def ended_well(self) -> bool:
        return self.state == ProcessState.EXITED and self.exit_code == 0


@dataclass(frozen=True)
class Verdict:
    reason: EndReason
    message: str
    process: str = ""
    exit_code: int | None = None


def deciding(mode: Mode, seen: Sequence[Seen]) -> list[Seen]:
    """Give the processes whose end ends the run."""
    if mode != Mode.PARAMETER_SERVER:
        return list(seen)
    chiefs = [process for process in seen if process.role == "chief"]
    return chiefs or [process for process in seen if process.name == "worker-0"]


def why_over(mode: Mode, seen: Sequence[Seen], now: datetime) -> Verdict | None:
    """Say why a group is over, or None while it is not.

    The first process that failed is named: the others' failures are its echo. Parameter servers and
    workers that are still there when the chief is done are no failure; an evaluator may finish its
    last evaluation.
    """
    leaders = deciding(mode, seen)
    if leaders and all(leader.ended_well for leader in leaders):
        evaluators = [process for process in seen if process.role == "evaluator"]
        done_at = max((leader.exited_at or now for leader in leaders), default=now)
        if all(e.state == ProcessState.EXITED for e in evaluators) or (
            now - done_at > EVALUATOR_GRACE
        ):
            return _completed(leaders, evaluators)
        return None
    failed = [process for process in seen if process.has_failed]
    if failed:
        first = min(failed, key=lambda process: process.exited_at or now)
        return _failure_of(first)
    lost = [p for p in seen if not p.is_alive and p.state != ProcessState.EXITED]
    if lost:
        return Verdict(
            EndReason.LOST,
            f"{lost[0].name} disappeared from its compute target without leaving a trace.",
            lost[0].name,
        )
    return None


def never_came_up(
    seen: Sequence[Seen], since: datetime, deadline: timedelta, now: datetime
) -> Verdict | None:
    """Name the processes that are not there when the start deadline has passed."""
    if now - since <= deadline:
        return None
    missing = [process.name for process in seen if process.state == ProcessState.CREATED]
    if not missing:
        return None
    return Verdict(
        EndReason.NEVER_CAME_UP,
        f"{_listed(missing)} did not come up within {deadline.total_seconds():.0f} s.",
        missing[0],
    )


def _completed(leaders: Sequence[Seen], evaluators: Sequence[Seen]) -> Verdict:
    for evaluator in evaluators:
        if evaluator.has_failed:
            return _failure_of(evaluator)
    return Verdict(
        EndReason.COMPLETED,
        f"{_listed([leader.name for leader in leaders])} ended well.",
        leaders[0].name,
        0,
    )


def _failure_of(process: Seen) -> Verdict:
    if process.out_of_memory:
        what = process.reason or "ran out of memory"
        return Verdict(
            EndReason.OUT_OF_MEMORY,
            f"{process.name} ran out of memory: {what}.",
            process.name,
            process.exit_code,
        )
    what = process.reason or f"ended with exit code {process.exit_code}"
    return Verdict(
        EndReason.PROCESS_FAILED, f"{process.name} {what}.", process.name, process.exit_code
    )


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"{names[0]} and {len(names) - 1} more"
