"""Runs whose target is unreachable: they are left as they are, and fail after a timeout."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from runs.events import RunTargetReachable, RunTargetUnreachable, record
from runs.models import Process, Run
from runs.states import EndReason
from runs.supervision.decisions import HEARTBEAT_TIMEOUT, EndVerdict
from workspace.models import ComputeTarget
from workspace.platform.clock import age_of


def unreachable_verdict(run: Run, silent_for: timedelta) -> EndVerdict | None:
    """Mark a run's target as unreachable; return the verdict once it is silent for too long.

    A run whose runners still send heartbeats goes on, however long its target is unreachable.
    """
    target = ComputeTarget.objects.filter(pk=run.compute_target.pk).first() or run.compute_target
    since = target.unreachable_since or timezone.now()
    if run.target_unreachable_since is None:
        _mark_unreachable(run, since, target.unreachable_reason)
    timeout = timedelta(seconds=target.unreachable_timeout_seconds)
    if silent_for <= timeout or _has_heartbeat(run):
        return None
    return EndVerdict(
        EndReason.TARGET_UNREACHABLE,
        f"Target {target.name} has not answered since {since:%Y-%m-%d %H:%M:%S} UTC:"
        f" {target.unreachable_reason}",
    )


def mark_reachable(run: Run) -> None:
    """Record that the target of a run answers again."""
    if run.target_unreachable_since is None:
        return
    with transaction.atomic():
        record(run, RunTargetReachable(since=run.target_unreachable_since.isoformat()))
        Run.objects.filter(pk=run.pk).update(target_unreachable_since=None)
    run.target_unreachable_since = None


def _mark_unreachable(run: Run, since: datetime, reason: str) -> None:
    with transaction.atomic():
        record(run, RunTargetUnreachable(since=since.isoformat(), reason=reason))
        Run.objects.filter(pk=run.pk).update(target_unreachable_since=since)
    run.target_unreachable_since = since


def _has_heartbeat(run: Run) -> bool:
    beats = Process.objects.filter(group__run=run, group__is_fenced=False).exclude(
        heartbeat_at=None
    )
    return any(
        at is not None and age_of(at) < HEARTBEAT_TIMEOUT
        for at in beats.values_list("heartbeat_at", flat=True)
    )
