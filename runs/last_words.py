"""What a failed run leaves to read beside its reason: last lines, and their known cause."""

from dataclasses import asdict
from typing import Any

from runs.causes import cause_of
from runs.logs import log_of
from runs.models import ProcessGroup, Run
from runs.states import EndReason

LINES_SHOWN = 30
LINES_SEARCHED = 300
TOLD_BY_LOGS = {EndReason.PROCESS_FAILED, EndReason.OUT_OF_MEMORY, EndReason.NO_PROGRESS}


def last_words(run: Run, group: ProcessGroup) -> dict[str, Any]:
    """Give the `lines` of the process at fault, and their `cause` where it is known."""
    name = run.end_detail.get("process")
    if not name or run.end_reason == EndReason.COMPLETED:
        return {}
    lines = log_of(group.label, name).tail(LINES_SEARCHED)
    words: dict[str, Any] = {"lines": lines[-LINES_SHOWN:]}
    if run.end_reason in TOLD_BY_LOGS:
        cause = cause_of(
            lines,
            exit_code=run.end_detail.get("exit_code"),
            out_of_memory=run.end_reason == EndReason.OUT_OF_MEMORY,
        )
        if cause:
            words["cause"] = asdict(cause)
    return words
