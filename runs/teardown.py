"""Bring a group of processes to its end, and leave nothing of it on its target."""

import logging
import shutil
from datetime import timedelta

from django.utils import timezone

from runs.files import run_folder
from runs.launch import checkpoints_of
from runs.models import ProcessGroup, Run
from runs.states import TERMINAL, ProcessState
from workspace.compute.base import Backend, BackendError, SightingState, Unreachable
from workspace.reach import Reach

# A runner hears of a stop with its next beat, and tells of the end before it ships the rest.
KILL_MARGIN = timedelta(seconds=4)
log = logging.getLogger(__name__)


def bring_to_end(group: ProcessGroup, backend: Backend, grace: timedelta) -> bool:
    """Ask a group to end, then kill it, then see that all is collected and it is removed.

    Gives whether it is gone; until then it is to be called again.
    """
    if group.removed_at is not None:
        return True
    if not _is_collected(group, backend, grace):
        return False
    _remove(group, backend)
    return True


def give_up(group: ProcessGroup) -> None:
    """Let a group that cannot be reached write no more; `sweep` removes it when it can be."""
    ProcessGroup.objects.filter(pk=group.pk).update(is_fenced=True)


def is_collected(group: ProcessGroup) -> bool:
    return not group.processes.filter(collected_at=None).exists()


def sweep(reach: Reach) -> None:
    """Remove the groups that were given up, where their targets answer again."""
    left = ProcessGroup.objects.filter(removed_at=None, is_fenced=True, run__isnull=False)
    for group in left.select_related("target", "run"):
        try:
            backend = reach.backend(group.target)
            backend.kill(group.label)
            _remove(group, backend)
            if group.run is not None and group.run.status in TERMINAL:
                discard_checkpoints(group.run, backend)
        except Unreachable as error:
            reach.lost(group.target, error)
        except BackendError as error:
            log.warning("%s cannot be removed yet: %s", group.label, error)


def discard_checkpoints(run: Run, backend: Backend) -> None:
    """Remove what the attempts of a run shared, on its target and here."""
    backend.discard_checkpoints(checkpoints_of(run))
    shutil.rmtree(run_folder(run.pk) / "checkpoints", ignore_errors=True)


def _remove(group: ProcessGroup, backend: Backend) -> None:
    backend.remove(group.label)
    group.removed_at = timezone.now()
    ProcessGroup.objects.filter(pk=group.pk).update(is_fenced=True, removed_at=group.removed_at)


def _is_collected(group: ProcessGroup, backend: Backend, grace: timedelta) -> bool:
    if group.stop_requested_at is None:
        group.stop_requested_at = timezone.now()
        group.grace_seconds = int(grace.total_seconds())
        group.save(update_fields=["stop_requested_at", "grace_seconds"])
        backend.stop(group.label, grace)
    uncollected = [p.name for p in group.processes.all() if p.collected_at is None]
    if not uncollected:
        return True  # a runner that has shipped everything has nothing left but to exit
    alive = {s.name for s in backend.observe(group.label) if s.state == SightingState.ALIVE}
    exited = {p.name for p in group.processes.all() if p.state == ProcessState.EXITED}
    if alive - exited and _is_overdue(group, grace):
        backend.kill(group.label)
    dead = [name for name in uncollected if name not in alive]
    salvaged = not dead or not backend.salvage(group.label, dead)
    return salvaged and len(dead) == len(uncollected)


def _is_overdue(group: ProcessGroup, grace: timedelta) -> bool:
    asked_at = group.stop_requested_at or timezone.now()
    return timezone.now() - asked_at > grace + KILL_MARGIN
