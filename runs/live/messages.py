"""The websocket's messages: one frozen dataclass for each type, written to JSON in one place.

docs/protocols.md lists the types and their fields; tests/docs holds it against this module.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from runs.lifecycle import PhaseTime, phases_of
from runs.metrics.usage import sample_json
from runs.models import Process, Run, UsageSample
from workspace.platform.json_records import JsonRecord


class WebsocketMessage(JsonRecord):
    """A message to watchers of a run or service.

    `clocks` names the fields that change by themselves, which is no reason to send it again.
    """

    clocks: ClassVar[frozenset[str]] = frozenset()
    # What people print goes out as it is; other text may hold what UTF-8 cannot, and is escaped.
    is_escaped: ClassVar[bool] = True

    @property
    def subject(self) -> str:
        """Name what the message is about; a newer message about it replaces this one."""
        return f"{self.type} {getattr(self, 'process', '')}"

    def news(self) -> dict[str, Any]:
        """Return the fields whose change is news."""
        return {name: part for name, part in self.to_json().items() if name not in self.clocks}

    def encode(self) -> str:
        """Return the message as it is sent."""
        return json.dumps({"type": self.type, **self.to_json()}, ensure_ascii=self.is_escaped)


@dataclass(frozen=True)
class RunStatusMessage(WebsocketMessage):
    """The status of a run."""

    type: ClassVar[str] = "run.status"
    clocks: ClassVar[frozenset[str]] = frozenset({"at", "phases"})
    status: str
    seq: int
    at: str
    phases: list[PhaseTime]
    wait_reason: str
    end_reason: str
    end_detail: dict[str, Any]


@dataclass(frozen=True)
class ProcessStatusMessage(WebsocketMessage):
    """The state of one process of a run's latest attempt."""

    type: ClassVar[str] = "process.status"
    process: str
    state: str
    exit_code: int | None
    reason: str
    node: str


@dataclass(frozen=True)
class RedrawnLines:
    """The last lines of a log, from number `first` on; they replace those that were sent before.

    `complete` says whether the text that comes next begins a new line.
    """

    first: int
    total: int
    lines: list[str]
    complete: bool


@dataclass(frozen=True)
class LogMessage(WebsocketMessage):
    """New text of a log, and its last lines where the text drew lines anew."""

    type: ClassVar[str] = "log"
    is_escaped: ClassVar[bool] = False
    process: str
    offset: int
    next: int
    text: str
    redrawn: RedrawnLines | None = None


@dataclass(frozen=True)
class BuildLogMessage(WebsocketMessage):
    """New text of the log of an environment's build, as LogMessage has it."""

    type: ClassVar[str] = "build"
    is_escaped: ClassVar[bool] = False
    offset: int
    next: int
    text: str
    redrawn: RedrawnLines | None = None


@dataclass(frozen=True)
class MetricsMessage(WebsocketMessage):
    """The metrics that have new points, and the largest step among these."""

    type: ClassVar[str] = "metrics"
    names: list[str]
    step: int


@dataclass(frozen=True)
class UsageMessage(WebsocketMessage):
    """The newest usage sample of one process."""

    type: ClassVar[str] = "usage"
    process: str
    at: str
    cpus: float
    memory_bytes: int
    gpu: float | None
    gpu_memory_bytes: int | None


def run_status_message(run: Run, now: datetime) -> RunStatusMessage:
    return RunStatusMessage(
        status=run.status,
        seq=run.last_seq,
        at=now.isoformat(),
        phases=phases_of(run, now),
        wait_reason=run.wait_reason,
        end_reason=run.end_reason,
        end_detail=run.end_detail,
    )


def process_status_messages(processes: Iterable[Process]) -> list[ProcessStatusMessage]:
    return [
        ProcessStatusMessage(
            process=process.name,
            state=process.state,
            exit_code=process.exit_code,
            reason=process.exit_reason,
            node=process.node,
        )
        for process in processes
    ]


def usage_messages(samples: Iterable[tuple[Process, UsageSample]]) -> list[UsageMessage]:
    return [
        UsageMessage(process=process.name, **sample_json(sample)) for process, sample in samples
    ]
