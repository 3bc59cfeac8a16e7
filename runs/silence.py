"""Runs whose target does not answer: kept as they are, told of, and given up after a while."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from runs.decisions import SILENT_AFTER, Verdict
from runs.events import record
from runs.models import Process, Run
from runs.states import EndReason
from workspace.models import ComputeTarget


def bear(run: Run) -> Verdict | None:
    """Mark a run as not responding; give the verdict when it has been for too long.

    One whose runners are still heard of is not given up, however long its target is silent.
    """
    target = ComputeTarget.objects.filter(pk=run.target_id).first() or run.target
    since = target.unreachable_since or timezone.now()
    if run.not_responding_since is None:
        _note(run, since, target.unreachable_because)
    now = timezone.now()
    if now - since <= timedelta(seconds=target.lost_after_seconds) or _is_heard_of(run, now):
        return None
    return Verdict(
        EndReason.NOT_RESPONDING,
        f"Target {target.name} has not answered since {since:%Y-%m-%d %H:%M:%S} UTC:"
        f" {target.unreachable_because}",
    )


def end(run: Run) -> None:
    """Note that the target of a run answers again."""
    if run.not_responding_since is None:
        return
    with transaction.atomic():
        record(run, "run.responds_again", since=run.not_responding_since.isoformat())
        Run.objects.filter(pk=run.pk).update(not_responding_since=None)
    run.not_responding_since = None


def _note(run: Run, since: datetime, because: str) -> None:
    with transaction.atomic():
        record(run, "run.not_responding", since=since.isoformat(), because=because)
        Run.objects.filter(pk=run.pk).update(not_responding_since=since)
    run.not_responding_since = since


def _is_heard_of(run: Run, now: datetime) -> bool:
    return Process.objects.filter(
        group__run=run, group__is_fenced=False, heartbeat_at__gt=now - SILENT_AFTER
    ).exists()
