"""Which logs a run or a group of processes has, by the names that pages know them under."""

from dataclasses import dataclass

from runs.config import RunConfig
from runs.distribution import Mode
from runs.logs.log_file import Log, build_log_of, log_of, rank_log
from runs.logs.merged import MergedLog
from runs.models import ProcessGroup, Run
from workspace.models import EnvironmentState
from workspace.platform.errors import NotFound

MERGED = "merged"
BUILD = "build"
UNBUILT = {EnvironmentState.PENDING, EnvironmentState.BUILDING}


@dataclass(frozen=True)
class LogSource:
    """A log, and whether nothing more will come; `is_of_process` for one that no other holds."""

    log: Log
    is_final: bool
    is_of_process: bool = False


def logs_of_group(group: ProcessGroup) -> dict[str, LogSource]:
    """Return the logs of a group's processes, by their names."""
    is_gone = group.removed_at is not None
    return {
        process.name: LogSource(
            log_of(group.label, process.name),
            is_final=is_gone or process.collected_at is not None,
            is_of_process=True,
        )
        for process in group.processes.all()
    }


def logs_of_run(run: Run) -> dict[str, LogSource]:
    """Return the logs of a run's latest attempt, all of them merged, and its environment's build.

    Those of earlier attempts are there too, such as attempt-1-worker-0.
    """
    found: dict[str, LogSource] = {}
    if run.environment is not None:
        is_built = run.environment.state not in UNBUILT
        found[BUILD] = LogSource(build_log_of(run.environment), is_final=is_built)
    attempts = list(run.attempts.order_by("attempt").prefetch_related("processes"))
    for group in attempts[:-1]:
        found |= {
            earlier_attempt_log(group.attempt, name): LogSource(
                log_of(group.label, name), is_final=True
            )
            for name in [*(process.name for process in group.processes.all()), *ranks_of(run)]
        }
    for group in attempts[-1:]:
        logs = logs_of_group(group)
        over = {name for name, watched in logs.items() if watched.is_final}
        found |= logs
        found[MERGED] = LogSource(
            MergedLog(group.label, tuple(logs), frozenset(over)), is_final=len(over) == len(logs)
        )
        found |= {
            name: LogSource(log_of(group.label, name), is_final=len(over) == len(logs))
            for name in ranks_of(run)
        }
    return found


def earlier_attempt_log(attempt: int, process: str) -> str:
    """Name the log that a process has of an earlier attempt."""
    return f"attempt-{attempt}-{process}"


def ranks_of(run: Run) -> list[str]:
    """Name the logs of an MPI run's ranks, which its launcher's log holds as well."""
    if run.is_tracked:
        return []
    config = RunConfig.from_row(run.config)
    return [rank_log(number) for number in range(config.ranks)] if config.mode == Mode.MPI else []


def log_named(logs: dict[str, LogSource], name: str) -> LogSource:
    if name not in logs:
        known = ", ".join(logs) or "none yet"
        raise NotFound(f"There is no log {name[:60]!r}. The logs are: {known}.")
    return logs[name]
