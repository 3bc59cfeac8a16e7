"""How a run's facts are put into words and rows for its pages. Reads nothing, writes nothing."""

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runs.config import Mode, RunConfig
from runs.models import Process, Run, RunEvent
from runs.states import EndReason, ProcessState, RequeueReason, RunStatus

TERMINAL_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?"
)
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

STOPPED_BY_US = {128 + signal.SIGTERM, 128 + signal.SIGKILL}

MODES = {
    Mode.SINGLE: "Single process",
    Mode.MULTI_WORKER: "Multi-worker",
    Mode.PARAMETER_SERVER: "Parameter server",
    Mode.MPI: "MPI",
}
WAITING = {
    RunStatus.QUEUED: "Waiting for its turn.",
    RunStatus.PREPARING: "The environment is being made. Its log is under Logs, as build.",
    RunStatus.STARTING: "The processes are starting; they begin together when all are ready.",
    RunStatus.FINALIZING: "Processes are being stopped and outputs collected.",
}


@dataclass(frozen=True)
class Phase:
    """One of the five phases that a run passes; `seconds` is None for one not reached."""

    name: str
    seconds: float | None
    since: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Ending:
    """Why a run failed, in words."""

    title: str
    message: str
    process: str
    exit_code: int | None
    lines: list[str]
    cause: str = ""
    remedy: str = ""


@dataclass
class Folder:
    """A folder of a file tree; `is_model` tells that it holds a SavedModel."""

    name: str
    path: str
    folders: dict[str, "Folder"] = field(default_factory=dict)
    files: list["Leaf"] = field(default_factory=list)

    @property
    def is_model(self) -> bool:
        return any(leaf.name == "saved_model.pb" for leaf in self.files)


@dataclass(frozen=True)
class Leaf:
    name: str
    path: str
    size: int


def mode_of(run: Run) -> str:
    """Name a run's mode and how many processes it has of each role."""
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


def phases(reached: Sequence[dict[str, Any]]) -> list[Phase]:
    """Give all five phases, those not reached too, from what `lifecycle.phases_of` tells."""
    by_name = {phase["name"]: phase for phase in reached}
    shown = []
    for status in (
        RunStatus.QUEUED,
        RunStatus.PREPARING,
        RunStatus.STARTING,
        RunStatus.RUNNING,
        RunStatus.FINALIZING,
    ):
        phase = by_name.get(status.value)
        if phase is None:
            shown.append(Phase(status.value, None))
        else:
            shown.append(Phase(status.value, phase["seconds"], phase["since"], phase["open"]))
    return shown


def length_of(run: Run, now: datetime) -> float | None:
    """Give the seconds from a run's first process to its end, or until now."""
    if run.starting_at is None:
        return None
    return ((run.ended_at or now) - run.starting_at).total_seconds()


def ending_of(run: Run) -> Ending | None:
    """Say why a run failed or is failing; None for one that did not."""
    if run.end_reason in ("", EndReason.COMPLETED, EndReason.CANCELED):
        return None
    detail = run.end_detail
    return Ending(
        title=EndReason(run.end_reason).label,
        message=str(detail.get("message", "")),
        process=str(detail.get("process", "")),
        exit_code=detail.get("exit_code"),
        lines=[plain_line(line) for line in detail.get("lines", [])],
        cause=detail.get("cause", {}).get("title", ""),
        remedy=detail.get("cause", {}).get("remedy", ""),
    )


def state_of(process: Process, run: Run) -> tuple[str, str]:
    """Give the state of a process as a status pill shows it, and the word to say it with.

    A process that the platform ended when the run was over has not failed.
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
    """Give a line without colours, and of one that redraws itself the last drawing."""
    text = TERMINAL_SEQUENCES.sub("", line)
    drawings = [drawing for drawing in text.split("\r") if drawing.strip("\b ")]
    return CONTROL_CHARACTERS.sub("", drawings[-1]) if drawings else ""


def sentence_of(event: RunEvent) -> str:
    """Put an event into a sentence."""
    data = event.data
    if event.type == "run.submitted":
        return f"Submitted by {data.get('by') or 'someone'}."
    if event.type == "run.cancel_requested":
        return f"{data.get('by') or 'Someone'} asked to cancel it."
    if event.type == "run.status_changed":
        why = f": {EndReason(data['reason']).label.lower()}" if data.get("reason") else ""
        return f"{data['from']} → {data['to']}{why}."
    if event.type == "run.requeue_requested":
        words = f"{RequeueReason(data['because']).label}."
        return f"{words} {data['message']}" if data.get("message") else words
    if event.type == "run.moved_in_queue":
        priority = f", with priority {data['priority']}" if "priority" in data else ""
        return f"{data['by']} moved it to place {data['place']} of the queue{priority}."
    if event.type == "process.exited":
        how = data.get("reason") or f"ended with exit code {data['exit_code']}"
        return f"{data['process']} {how}."
    if event.type == "run.not_responding":
        return f"Its compute target does not answer: {data['because']}"
    if event.type == "run.responds_again":
        return "Its compute target answers again."
    if event.type == "run.still":
        return "No progress is seen: no log, file or CPU has moved."
    if event.type == "run.progresses_again":
        return "Progress is seen again."
    words = ", ".join(f"{name}: {value}" for name, value in data.items())
    what = event.type.replace(".", " ").replace("_", " ").capitalize()
    return f"{what}: {words}." if words else f"{what}."


def configuration_rows(config: RunConfig) -> list[tuple[str, str]]:
    """Give the names and values of a configuration that say something."""
    return [
        (name, _in_words(value))
        for name, value in config.to_json().items()
        if value not in (None, "", [], (), {})
        and name not in {"script_params", "environment_variables", "distributed_training"}
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def tree_of(files: Iterable[tuple[str, int]]) -> Folder:
    """Arrange paths and sizes as nested folders."""
    root = Folder("", "")
    for path, size in sorted(files):
        *parents, name = path.split("/")
        folder = root
        for depth, parent in enumerate(parents, start=1):
            folder = folder.folders.setdefault(parent, Folder(parent, "/".join(parents[:depth])))
        folder.files.append(Leaf(name, path, size))
    return root
