"""Run data as sentences and rows for pages. Reads nothing, writes nothing."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runner.constants import KILLED, STOPPED
from runs.config import RunConfig
from runs.distribution import Mode
from runs.events import (
    EventData,
    MetricsRefused,
    ProcessExited,
    RunCancelRequested,
    RunHung,
    RunMovedInQueue,
    RunProgressResumed,
    RunRequeueRequested,
    RunStatusChanged,
    RunSubmitted,
    RunTargetReachable,
    RunTargetUnreachable,
)
from runs.lifecycle import PhaseTime
from runs.models import Process, Run
from runs.states import (
    STATUS_OF_REASON,
    EndReason,
    ProcessState,
    RequeueReason,
    RunStatus,
)

TERMINAL_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?"
)
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

STOPPED_BY_US = {STOPPED, KILLED}

SHOWN_APART = {
    *("script_params", "environment_variables", "secrets", "distributed_training"),
    *("name", "description", "tags"),
}
MODES = {
    Mode.SINGLE: "Single process",
    Mode.MULTI_WORKER: "Multi-worker",
    Mode.PARAMETER_SERVER: "Parameter server",
    Mode.MPI: "MPI",
}
PHASES = (
    RunStatus.QUEUED,
    RunStatus.PREPARING,
    RunStatus.STARTING,
    RunStatus.RUNNING,
    RunStatus.FINALIZING,
)
STATUS_HINTS = {
    RunStatus.QUEUED: "Waiting in the queue.",
    RunStatus.PREPARING: "Building the environment. See Logs > build.",
    RunStatus.STARTING: "Starting processes. Training begins when all are ready.",
    RunStatus.FINALIZING: "Stopping processes and collecting outputs.",
}


@dataclass(frozen=True)
class Phase:
    """One of the five phases that a run passes; `seconds` is None for one not reached."""

    name: str
    seconds: float | None
    since: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class FailureSummary:
    """Why a run failed, in words."""

    title: str
    message: str
    process: str
    exit_code: int | None
    lines: list[str]
    hint: str = ""
    remedy: str = ""


@dataclass
class FileTreeFolder:
    """A folder of a file tree; `is_model` is true where it holds a SavedModel."""

    name: str
    path: str
    folders: dict[str, "FileTreeFolder"] = field(default_factory=dict)
    files: list["FileTreeFile"] = field(default_factory=list)

    @property
    def is_model(self) -> bool:
        return any(leaf.name == "saved_model.pb" for leaf in self.files)


@dataclass(frozen=True)
class FileTreeFile:
    name: str
    path: str
    size: int


def mode_text(run: Run) -> str:
    """Name a run's mode and how many processes it has of each role."""
    if run.is_tracked:
        return "Tracked"
    config = RunConfig.from_row(run.config)
    distribution = config.distributed_training
    name = MODES[distribution.type]
    if distribution.type == Mode.SINGLE:
        return name
    if distribution.type == Mode.MPI:
        return f"{name}: {config.ranks} ranks, {distribution.process_count_per_node} a node"
    roles = ", ".join(_counted(count, role) for role, count in distribution.roles())
    return f"{name}: {roles}"


def _counted(count: int, role: str) -> str:
    return f"{count} {role}" if count == 1 or role == "ps" else f"{count} {role}s"


def phases(reached: Sequence[PhaseTime], *, is_tracked: bool = False) -> list[Phase]:
    """Return all five phases, those not reached too, from what `lifecycle.phases_of` returns.

    A tracked run has but one.
    """
    by_name = {phase.name: phase for phase in reached}
    shown = []
    for status in (RunStatus.RUNNING,) if is_tracked else PHASES:
        phase = by_name.get(status.value)
        if phase is None:
            shown.append(Phase(status.value, None))
        else:
            shown.append(Phase(status.value, phase.seconds, phase.since, phase.open))
    return shown


def length_of(run: Run, now: datetime) -> float | None:
    """Return the seconds from a run's first process, or its start, to its end or until now."""
    started = run.starting_at or run.running_at
    if started is None:
        return None
    return ((run.ended_at or now) - started).total_seconds()


def failure_of(run: Run) -> FailureSummary | None:
    """Return why a run failed or is failing; None for one that did not."""
    if not run.end_reason or STATUS_OF_REASON[EndReason(run.end_reason)] != RunStatus.FAILED:
        return None
    detail = run.end_detail
    hint = detail.get("hint") or {}
    return FailureSummary(
        title=EndReason(run.end_reason).label,
        message=str(detail.get("message", "")),
        process=str(detail.get("process", "")),
        exit_code=detail.get("exit_code"),
        lines=[plain_line(line) for line in detail.get("lines", [])],
        hint=hint.get("title", ""),
        remedy=hint.get("remedy", ""),
    )


def state_of(process: Process, run: Run) -> tuple[str, str]:
    """Return the state of a process for its status pill, and the word shown there.

    A process that the platform stopped at the end of the run has not failed.
    """
    if process.state != ProcessState.EXITED:
        return ("stopped", "") if run.is_over else (process.state, "")
    if process.exit_code == 0:
        return ("completed", "Exited")
    at_fault = str(run.end_detail.get("process"))
    is_at_fault = at_fault == process.name or (
        process.role == "launcher" and at_fault.startswith("rank-")
    )
    if run.end_reason and not is_at_fault and process.exit_code in STOPPED_BY_US:
        return ("stopped", "")
    return ("failed", "Exited")


def plain_line(line: str) -> str:
    """Return a line without colours; of one that redraws itself, the last state."""
    text = TERMINAL_SEQUENCES.sub("", line)
    drawings = [drawing for drawing in text.split("\r") if drawing.strip("\b ")]
    return CONTROL_CHARACTERS.sub("", drawings[-1]) if drawings else ""


def event_text(event: EventData) -> str:
    """Return an event as a sentence."""
    match event:
        case RunSubmitted(by=by):
            return f"Submitted by {by or 'someone'}."
        case RunCancelRequested(by=by, at_once=True):
            return f"Cancel at once requested by {by or 'someone'}."
        case RunCancelRequested(by=by):
            return f"Cancel requested by {by or 'someone'}."
        case RunStatusChanged(from_=before, to=to, reason=reason):
            why = f": {_lower_first(EndReason(reason).label)}" if reason else ""
            return f"{before} → {to}{why}."
        case RunRequeueRequested(reason=reason, message=message):
            return f"{RequeueReason(reason).label}. {message}".strip()
        case RunMovedInQueue(by=by, position=position, priority=priority):
            with_priority = "" if priority is None else f", with priority {priority}"
            return f"{by} moved the run to position {position} of the queue{with_priority}."
        case RunTargetUnreachable(reason=reason):
            return f"The compute target is unreachable: {reason}"
        case RunTargetReachable():
            return "The compute target is reachable again."
        case RunHung():
            return "No progress: no new log output, file write or CPU use."
        case RunProgressResumed():
            return "Progress resumed."
        case ProcessExited(process=process, exit_code=exit_code, reason=reason):
            return f"{process} {reason or f'ended with exit code {exit_code}'}."
        case MetricsRefused(message=message):
            return f"Some metrics were not stored. {message}"
    raise TypeError(f"{type(event).__name__} has no sentence")


def _lower_first(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def configuration_rows(config: RunConfig) -> list[tuple[str, str]]:
    """Return the names and values of a configuration that are set."""
    return [
        (name, _in_words(value))
        for name, value in config.to_json().items()
        if value not in (None, "", [], (), {}) and name not in SHOWN_APART
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def value_text(value: object) -> str:
    """Word a parameter, metric, tag or attribute."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return str(value)


def tree_of(files: Iterable[tuple[str, int]]) -> FileTreeFolder:
    """Arrange paths and sizes as nested folders."""
    root = FileTreeFolder("", "")
    for path, size in sorted(files):
        *parents, name = path.split("/")
        folder = root
        for depth, parent in enumerate(parents, start=1):
            folder = folder.folders.setdefault(
                parent, FileTreeFolder(parent, "/".join(parents[:depth]))
            )
        folder.files.append(FileTreeFile(name, path, size))
    return root
