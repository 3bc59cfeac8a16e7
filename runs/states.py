"""Statuses of runs, the transitions between them, and why a run may end. Pure data."""

from django.db.models import TextChoices


class RunStatus(TextChoices):
    QUEUED = "Queued"
    PREPARING = "Preparing"
    STARTING = "Starting"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"


S = RunStatus

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    S.QUEUED: frozenset({S.PREPARING, S.FINALIZING}),
    S.PREPARING: frozenset({S.STARTING, S.FINALIZING}),
    S.STARTING: frozenset({S.RUNNING, S.QUEUED, S.FINALIZING}),
    S.RUNNING: frozenset({S.QUEUED, S.FINALIZING}),
    S.FINALIZING: frozenset({S.COMPLETED, S.FAILED, S.CANCELED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELED: frozenset(),
}

TERMINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)
UNFINISHED = frozenset(RunStatus) - TERMINAL
WITH_PROCESSES = frozenset({S.STARTING, S.RUNNING})

TIMESTAMPS = {
    S.PREPARING: "preparing_at",
    S.STARTING: "starting_at",
    S.RUNNING: "running_at",
    S.FINALIZING: "finalizing_at",
    S.COMPLETED: "ended_at",
    S.FAILED: "ended_at",
    S.CANCELED: "ended_at",
}


class EndReason(TextChoices):
    COMPLETED = "completed", "All required processes exited with code 0"
    CANCELED = "canceled", "Canceled"
    ENVIRONMENT_FAILED = "environment_failed", "The environment could not be built"
    START_FAILED = "start_failed", "The processes could not be started"
    NEVER_CAME_UP = "never_came_up", "A process did not start in time"
    PROCESS_FAILED = "process_failed", "A process failed"
    OUT_OF_MEMORY = "out_of_memory", "A process ran out of memory"
    LOST = "lost", "A process disappeared"
    TIME_LIMIT = "time_limit", "The maximum duration was reached"
    TARGET_UNREACHABLE = "target_unreachable", "The compute target is unreachable"
    NO_PROGRESS = "no_progress", "No progress for too long"
    REPORTED_COMPLETED = "reported_completed", "Its program reported that it completed"
    REPORTED_FAILED = "reported_failed", "Its program reported that it failed"


STATUS_OF_REASON: dict[EndReason, RunStatus] = dict.fromkeys(EndReason, S.FAILED) | {
    EndReason.COMPLETED: S.COMPLETED,
    EndReason.REPORTED_COMPLETED: S.COMPLETED,
    EndReason.CANCELED: S.CANCELED,
}


class RequeueReason(TextChoices):
    """Why an attempt is stopped and its run queued again."""

    PREEMPTED = "preempted", "Preempted by a run of higher priority"
    RESTART = "restart", "The attempt failed; the run restarts"


class ProcessState(TextChoices):
    """How far a process of a group has come.

    CREATED has a row only; READY waits at the barrier with its files in place; EXITED has reported
    how its program ended; STOPPED was ended by the platform, which is no failure.
    """

    CREATED = "created"
    READY = "ready"
    RUNNING = "running"
    EXITED = "exited"
