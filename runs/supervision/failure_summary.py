"""What explains a failed run beside its reason: its last log lines, and a hint."""

from dataclasses import asdict
from typing import Any

from runs.logs.log_file import log_of
from runs.models import ProcessGroup, Run
from runs.states import EndReason
from runs.supervision.error_hints import error_hint_of

LINES_SHOWN = 30
LINES_SEARCHED = 300
REASONS_EXPLAINED_BY_LOGS = {
    EndReason.PROCESS_FAILED,
    EndReason.OUT_OF_MEMORY,
    EndReason.NO_PROGRESS,
}


def failure_summary(run: Run, group: ProcessGroup) -> dict[str, Any]:
    """Return the last `lines` of the process at fault, and a `hint` if they show a known error."""
    name = run.end_detail.get("process")
    if not name or run.end_reason == EndReason.COMPLETED:
        return {}
    lines = log_of(group.label, name).tail(LINES_SEARCHED)
    summary: dict[str, Any] = {"lines": lines[-LINES_SHOWN:]}
    if run.end_reason in REASONS_EXPLAINED_BY_LOGS:
        hint = error_hint_of(
            lines,
            ignored_files=dict(run.source.ignored_files),
            exit_code=run.end_detail.get("exit_code"),
            out_of_memory=run.end_reason == EndReason.OUT_OF_MEMORY,
        )
        if hint:
            summary["hint"] = asdict(hint)
    return summary
