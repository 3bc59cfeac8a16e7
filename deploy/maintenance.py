"""What is tidied up once a day, by a worker: leftovers, what nothing uses, what is old.

The supervisor asks for it. Each step by itself may fail without harm to the others.
"""

import logging
import shutil
from collections.abc import Callable

from django.conf import settings
from django.db.models import Max, Q
from redis.exceptions import RedisError

from deploy.models import LoggedRequest, Replica
from deploy.storage.measurement import measure_all
from deploy.storage.run_cleanup import apply_rules
from deploy.traffic.counters import drop_old_traffic
from models.imports.execution import remove_leftover_directories
from models.selectors import manifests_in_use
from runs.deletion import finish_deletions
from runs.logs.log_file import folder_of
from runs.models import ProcessGroup
from runs.retention import purge_runs
from runs.source.cleanup import remove_unused_uploads
from workspace.environments.pruning import prune_all
from workspace.platform import broker
from workspace.platform.background_jobs import enqueue_once
from workspace.platform.broker import JobQueue
from workspace.retention import advance_purge_time, days_ago, delete_rows, purge_workspace

JOB = "deploy.maintenance.tidy_up"
JOB_SECONDS = 6 * 3600
EVERY_SECONDS = 24 * 3600
REQUESTED_KEY = "trainyard:maintenance"
log = logging.getLogger(__name__)


def request_maintenance() -> None:
    """Ask a worker to tidy up, once a day, however often the supervisor starts."""
    try:
        with broker.asked() as redis:
            is_due = redis.set(REQUESTED_KEY, 1, nx=True, ex=EVERY_SECONDS)
    except RedisError as error:
        broker.log_throttled("Could not ask for the daily maintenance", error)
        return
    if is_due:
        enqueue_once(JobQueue.MAINTENANCE, JOB, job_id="maintenance", timeout_seconds=JOB_SECONDS)


def tidy_up() -> None:
    for step in STEPS:
        try:
            step()
        except Exception:
            log.exception("A step of the daily maintenance failed: %s", step.__name__)


def sweep_uploads() -> None:
    remove_unused_uploads(also_in_use=manifests_in_use)


def purge_services() -> None:
    """Delete what is kept of deleted services' requests, and replicas that ended long ago."""
    gone = days_ago(settings.TRAINYARD_KEEP_REQUESTS_DAYS)
    delete_rows(LoggedRequest.objects.filter(service__deleted_at__lt=gone))
    services = Replica.objects.order_by().values_list("revision__service")
    for service, newest in services.annotate(newest=Max("number")):
        _purge_replicas(service, newest)


def _purge_replicas(service: int, newest: int) -> None:
    """Delete old replicas of a service, but for the newest: the next one's number follows it."""
    old = Replica.objects.filter(
        Q(group=None) | Q(group__removed_at__isnull=False),  # an unreachable target may hold one
        revision__service=service,
        ended_at__lt=days_ago(settings.TRAINYARD_KEEP_REPLICAS_DAYS),
        number__lt=newest,
    )
    groups = ProcessGroup.objects.filter(replica__in=old)
    for label in groups.values_list("label", flat=True):
        shutil.rmtree(folder_of(label), ignore_errors=True)
    delete_rows(groups)
    delete_rows(old)


STEPS: tuple[Callable[[], object], ...] = (
    measure_all,
    apply_rules,
    finish_deletions,
    sweep_uploads,
    remove_leftover_directories,
    drop_old_traffic,
    purge_workspace,
    purge_runs,
    purge_services,
    prune_all,
    advance_purge_time,  # the last: the others go by what it left the time before
)
