"""What a sighting of a group of processes means for its run. Pure functions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runs.config import Mode
from runs.logs import rank_log
from runs.states import EndReason, ProcessState

EVALUATOR_GRACE = timedelta(minutes=5)
# Runners are heard of every 5 s. One that is silent when another fails may be the cause of it: a
# gang notices a machine that is gone within seconds, its target often later.
SILENT_AFTER = timedelta(seconds=8)
CAUSE_MAY_SHOW_WITHIN = timedelta(seconds=60)
KILLED = 128 + 9
FIRST_SYSTEM_CODE = 128
# How the runner of an MPI launcher names the rank at fault.
RANK = re.compile(r"rank ([0-9]+)(?= )")


@dataclass(frozen=True)
class Seen:
    """One process as last reported by its runner, and as the backend shows it.

    `is_leaving`: its runner is gone, and what it left is still being shipped; `trace` is what the
    backend says of one that is not alive; `heard_at` is when its runner was last heard of.
    """

    role: str
    index: int
    state: ProcessState
    exit_code: int | None = None
    reason: str = ""
    out_of_memory: bool = False
    exited_at: datetime | None = None
    is_alive: bool = True
    is_leaving: bool = False
    trace: str = ""
    heard_at: datetime | None = None

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
    if mode == Mode.MPI:
        return [process for process in seen if process.role == "launcher"]
    if mode != Mode.PARAMETER_SERVER:
        return list(seen)
    chiefs = [process for process in seen if process.role == "chief"]
    return chiefs or [process for process in seen if process.name == "worker-0"]


def why_over(mode: Mode, seen: Sequence[Seen], now: datetime) -> Verdict | None:
    """Say why a group is over, or None while it is not.

    The first process that failed is named: the others' failures are its echo, and so is a failure
    of a program whose peer was killed or lost. Parameter servers and workers that are still there
    when the chief is done are no failure; an evaluator may finish its last evaluation.
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
            return None if _cause_may_show(first, seen, now) else _failure_of(first)
    return _loss_of(lost[0]) if lost else None


def needs_a_look(seen: Sequence[Seen]) -> bool:
    """Say whether the target should be asked at once: one failed, and others have not ended."""
    return any(process.has_failed for process in seen) and any(
        process.state != ProcessState.EXITED for process in seen
    )


def never_came_up(
    seen: Sequence[Seen], since: datetime, deadline: timedelta, now: datetime
) -> Verdict | None:
    """Name the processes that are not there when the start deadline has passed."""
    if now - since <= deadline:
        return None
    missing = [process for process in seen if process.state == ProcessState.CREATED]
    if not missing:
        return None
    names = _listed([process.name for process in missing])
    said = next((f" {process.trace}" for process in missing if process.trace), "")
    return Verdict(
        EndReason.NEVER_CAME_UP,
        f"{names} did not come up within {deadline.total_seconds():.0f} s.{said}",
        missing[0].name,
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


def _is_system_failure(process: Seen) -> bool:
    return (process.exit_code or 0) >= FIRST_SYSTEM_CODE


def _cause_may_show(first: Seen, seen: Sequence[Seen], now: datetime) -> bool:
    """Say whether a program's failure may be the echo of a peer of which nothing is heard."""
    if first.exited_at is None or now - first.exited_at > CAUSE_MAY_SHOW_WITHIN:
        return False
    return any(
        peer.is_leaving or (peer.heard_at is not None and now - peer.heard_at > SILENT_AFTER)
        for peer in seen
        if peer.state != ProcessState.EXITED
    )


def _loss_of(process: Seen) -> Verdict:
    what = "disappeared from its compute target"
    if process.trace and process.state == ProcessState.CREATED:
        what = "could not be started"
    how = f": {process.trace}" if process.trace else " without leaving a trace"
    return Verdict(EndReason.LOST, f"{process.name} {what}{how}.", process.name)


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
    rank = RANK.match(what)
    if rank:
        name, what = rank_log(int(rank[1])), what[rank.end() :]
        message = f"Rank {rank[1]}{what}."
    else:
        name, message = process.name, f"{process.name} {what}."
    return Verdict(EndReason.PROCESS_FAILED, message, name, process.exit_code)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"{names[0]} and {len(names) - 1} more"
