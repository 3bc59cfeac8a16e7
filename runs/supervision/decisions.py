"""What the status of a group of processes means for its run. Pure functions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runner.constants import KILLED, SIGNAL_BASE
from runs.config import RestartOn, RunConfig
from runs.distribution import Mode
from runs.logs.log_file import rank_log
from runs.states import EndReason, ProcessState

EVALUATOR_GRACE = timedelta(minutes=5)
# Runners beat every second; heartbeat_at is stored at most every 5 s. One that is silent when
# another fails may be the cause of it: a gang notices a lost machine within seconds, its target
# often later.
HEARTBEAT_TIMEOUT = timedelta(seconds=8)
ROOT_CAUSE_WINDOW = timedelta(seconds=60)
# The machine's or the network's doing, never the program's.
SYSTEM_FAILURES = frozenset({EndReason.LOST, EndReason.NEVER_CAME_UP, EndReason.TARGET_UNREACHABLE})
FAILURES = SYSTEM_FAILURES | {
    EndReason.PROCESS_FAILED,
    EndReason.OUT_OF_MEMORY,
    EndReason.START_FAILED,
    EndReason.NO_PROGRESS,
}
# How the runner of an MPI launcher names the rank at fault.
RANK = re.compile(r"rank ([0-9]+)(?= )")


@dataclass(frozen=True)
class ProcessView:
    """One process as last reported by its runner, and as the backend shows it.

    `is_shipping`: its runner is gone, and its logs and outputs are still being uploaded;
    `backend_reason` is the backend's reason for one that is not alive; `heartbeat_at` is the time
    of the last heartbeat; `published_ports` are known while a container runs.
    """

    role: str
    index: int
    state: ProcessState
    exit_code: int | None = None
    reason: str = ""
    out_of_memory: bool = False
    exited_at: datetime | None = None
    is_alive: bool = True
    is_shipping: bool = False
    backend_reason: str = ""
    heartbeat_at: datetime | None = None
    published_ports: tuple[str, ...] = ()

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
class EndVerdict:
    reason: EndReason
    message: str
    process: str = ""
    exit_code: int | None = None


def deciding_processes(mode: Mode, seen: Sequence[ProcessView]) -> list[ProcessView]:
    """Return the processes whose end ends the run."""
    if mode == Mode.MPI:
        return [process for process in seen if process.role == "launcher"]
    if mode != Mode.PARAMETER_SERVER:
        return list(seen)
    chiefs = [process for process in seen if process.role == "chief"]
    return chiefs or [process for process in seen if process.name == "worker-0"]


def end_verdict(mode: Mode, seen: Sequence[ProcessView], now: datetime) -> EndVerdict | None:
    """Return why a group is over, or None while it is not.

    The first process that failed is named: the others' failures are its echo, and so is a failure
    of a program whose peer was killed or lost. Parameter servers and workers that are still there
    when the chief is done are no failure; an evaluator may finish its last evaluation.
    """
    leaders = deciding_processes(mode, seen)
    if leaders and all(leader.ended_well for leader in leaders):
        evaluators = [process for process in seen if process.role == "evaluator"]
        done_at = max((leader.exited_at or now for leader in leaders), default=now)
        if all(e.state == ProcessState.EXITED for e in evaluators) or (
            now - done_at > EVALUATOR_GRACE
        ):
            return _completed(leaders, evaluators)
        return None
    failed = sorted(
        (process for process in seen if process.has_failed), key=lambda p: p.exited_at or now
    )
    lost = [p for p in seen if not p.is_alive and p.state != ProcessState.EXITED]
    if failed:
        first = failed[0]
        if not _is_system_failure(first):
            first = next((p for p in failed if p.exit_code == KILLED), first)
        if _is_system_failure(first):
            return _failure_of(first)
        if not lost:
            return None if _root_cause_may_follow(first, seen, now) else _failure_of(first)
    return _loss_of(lost[0]) if lost else None


def needs_status_check(seen: Sequence[ProcessView]) -> bool:
    """Return whether the target should be asked at once: one failed, and others have not ended."""
    return any(process.has_failed for process in seen) and any(
        process.state != ProcessState.EXITED for process in seen
    )


def start_timeout_verdict(
    seen: Sequence[ProcessView], since: datetime, deadline: timedelta, now: datetime
) -> EndVerdict | None:
    """Name the processes that are not there when the start deadline has passed."""
    if now - since <= deadline:
        return None
    missing = [process for process in seen if process.state == ProcessState.CREATED]
    if not missing:
        return None
    names = listed([process.name for process in missing])
    said = next((f" {process.backend_reason}" for process in missing if process.backend_reason), "")
    return EndVerdict(
        EndReason.NEVER_CAME_UP,
        f"{names} did not become ready within {deadline.total_seconds():.0f} s.{said}",
        missing[0].name,
    )


def should_restart(config: RunConfig, verdict: EndVerdict, restarts: int) -> bool:
    """Return whether a run starts again after `verdict`, having done so `restarts` times."""
    if restarts >= config.max_restarts or verdict.reason not in FAILURES:
        return False
    if config.restart_on == RestartOn.ANY_FAILURE or verdict.reason in SYSTEM_FAILURES:
        return True
    return verdict.exit_code is not None and verdict.exit_code >= SIGNAL_BASE


def _completed(leaders: Sequence[ProcessView], evaluators: Sequence[ProcessView]) -> EndVerdict:
    for evaluator in evaluators:
        if evaluator.has_failed:
            return _failure_of(evaluator)
    return EndVerdict(
        EndReason.COMPLETED,
        f"{listed([leader.name for leader in leaders])} completed.",
        leaders[0].name,
        0,
    )


def _is_system_failure(process: ProcessView) -> bool:
    return (process.exit_code or 0) >= SIGNAL_BASE


def _root_cause_may_follow(first: ProcessView, seen: Sequence[ProcessView], now: datetime) -> bool:
    """Return whether a program's failure may be the echo of a peer of which nothing is heard."""
    if first.exited_at is None or now - first.exited_at > ROOT_CAUSE_WINDOW:
        return False
    return any(
        peer.is_shipping
        or (peer.heartbeat_at is not None and now - peer.heartbeat_at > HEARTBEAT_TIMEOUT)
        for peer in seen
        if peer.state != ProcessState.EXITED
    )


def _loss_of(process: ProcessView) -> EndVerdict:
    what = "disappeared from its compute target"
    if process.backend_reason and process.state == ProcessState.CREATED:
        what = "could not be started"
    how = f": {process.backend_reason}" if process.backend_reason else " without leaving a trace"
    return EndVerdict(EndReason.LOST, f"{process.name} {what}{how}.", process.name)


def _failure_of(process: ProcessView) -> EndVerdict:
    if process.out_of_memory:
        what = process.reason or "ran out of memory"
        return EndVerdict(
            EndReason.OUT_OF_MEMORY,
            f"{process.name} ran out of memory: {what}.",
            process.name,
            process.exit_code,
        )
    what = process.reason or f"ended with exit code {process.exit_code}"
    rank = RANK.match(what)
    if rank:
        name, what = rank_log(int(rank[1])), what[rank.end() :]
        message = f"Rank {rank[1]}{what}."
    else:
        name, message = process.name, f"{process.name} {what}."
    return EndVerdict(EndReason.PROCESS_FAILED, message, name, process.exit_code)


def listed(names: Sequence[str]) -> str:
    """Name a few processes, or one and how many more."""
    if len(names) <= 3:
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"{names[0]} and {len(names) - 1} more"
