"""How long what is over is kept, and how old rows are deleted: some at a time, the oldest first.

In: the settings TRAINYARD_KEEP_..._DAYS. A transaction never deletes more than a batch, so that
nobody waits long for the database. What is old is judged by a time that is kept in the database
and goes on by two days with each maintenance at most: a clock that is years ahead for a moment
deletes nothing that it would not have within days.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import django_rq
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Model, QuerySet
from django.utils import timezone

from workspace.models import AuditEntry, Installation
from workspace.platform.broker import JobQueue

BATCH = 1000
LONGEST_STEP = timedelta(days=2)
NEVER = datetime.min.replace(tzinfo=UTC)


def days_ago(days: int) -> datetime:
    """Return the time before which things go; 0 days keep everything."""
    until = _purge_time() if days else None
    return until - timedelta(days=days) if until else NEVER


def advance_purge_time() -> None:
    """Let the next maintenance go on; the first one of an installation only begins to count."""
    now = timezone.now()
    until = _purge_time()
    Installation.objects.update(purged_until=min(now, until + LONGEST_STEP) if until else now)


def _purge_time() -> datetime | None:
    """Return the time by which things are old, never later than now."""
    until = Installation.objects.values_list("purged_until", flat=True).first()
    return min(until, timezone.now()) if until else None


def delete_rows(rows: QuerySet[Any]) -> int:
    """Delete rows in batches; return their number, without what is deleted with them."""
    total = 0
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        rows.model._default_manager.filter(pk__in=batch).delete()
        total += len(batch)
    return total


def delete_older(model: type[Model], at: str, before: datetime) -> int:
    """Delete rows in batches from the first one on, up to one that is not older than a time.

    Rows are numbered as they come, so that no more than a batch of those that stay is read.
    """
    total = 0
    for batch in _oldest_first(model, at):
        old = [pk for pk, time in batch if time < before]
        model._default_manager.filter(pk__in=old).delete()
        total += len(old)
        if len(old) < len(batch):
            break
    return total


def _oldest_first(model: type[Model], at: str) -> Iterator[list[tuple[int, datetime]]]:
    rows = model._default_manager.order_by("pk").values_list("pk", at)
    while batch := list(rows[:BATCH]):
        yield batch


def purge_workspace() -> None:
    """Delete old audit entries, sessions that expired, and what queues keep of failed jobs."""
    delete_older(AuditEntry, "at", days_ago(settings.TRAINYARD_KEEP_AUDIT_DAYS))
    delete_rows(Session.objects.filter(expire_date__lt=timezone.now()).order_by())
    _forget_failed_jobs(days_ago(settings.TRAINYARD_KEEP_FAILED_JOBS_DAYS))


def _forget_failed_jobs(before: datetime) -> None:
    for name in JobQueue:
        queue = django_rq.get_queue(name)
        registry = queue.failed_job_registry
        for job_id in registry.get_job_ids():
            job = queue.fetch_job(job_id)
            if job is None or (job.ended_at or job.created_at) < before:
                registry.remove(job_id, delete_job=job is not None)
