"""How many GPU-hours a team has used of a target in a month."""

from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from runs.models import Process
from workspace.models import ComputeTarget, Team

HOUR = timedelta(hours=1)


def month_of(time: datetime) -> datetime:
    """Give the start of the month in which a time lies, in the installation's zone."""
    return timezone.localtime(time).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def gpu_hours(target: ComputeTarget, team: Team, since: datetime, now: datetime) -> float:
    """Give the GPUs that a team's programs had on a target, times the hours they ran."""
    ended_before = Q(exited_at__lt=since) | Q(exited_at=None, group__removed_at__lt=since)
    processes = (
        Process.objects.filter(
            group__target=target, group__team=team, started_at__isnull=False, started_at__lt=now
        )
        .exclude(ended_before)
        .exclude(gpus=[])
        .values_list("started_at", "exited_at", "group__removed_at", "gpus")
    )
    return sum(
        len(gpus) * ((exited or removed or now) - max(started or since, since)) / HOUR
        for started, exited, removed, gpus in processes
    )
