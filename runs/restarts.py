"""Which failures of an attempt are followed by another attempt. A pure function."""

from runs.config import RestartOn, RunConfig
from runs.decisions import FIRST_SYSTEM_CODE, Verdict
from runs.states import EndReason

# The machine's or the network's doing, never the program's.
SYSTEM_FAILURES = frozenset({EndReason.LOST, EndReason.NEVER_CAME_UP, EndReason.NOT_RESPONDING})
FAILURES = SYSTEM_FAILURES | {
    EndReason.PROCESS_FAILED,
    EndReason.OUT_OF_MEMORY,
    EndReason.START_FAILED,
    EndReason.NO_PROGRESS,
}


def is_restarted(config: RunConfig, verdict: Verdict, restarts: int) -> bool:
    """Say whether a run starts again after `verdict`, having done so `restarts` times."""
    if restarts >= config.max_restarts or verdict.reason not in FAILURES:
        return False
    if config.restart_on == RestartOn.ANY_FAILURE or verdict.reason in SYSTEM_FAILURES:
        return True
    return verdict.exit_code is not None and verdict.exit_code >= FIRST_SYSTEM_CODE
