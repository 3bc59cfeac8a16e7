"""Stop a group of processes, of a run or of a replica, and leave nothing of it on its target.

Every step can be repeated: a supervisor killed between two lines leaves what the next tick does.
"""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, Max
from django.utils import timezone

from runs.files.folders import files_below, run_folder
from runs.launch.plan import checkpoints_of
from runs.logs.log_file import folder_of
from runs.models import Process, ProcessGroup, Run, RunFile
from runs.states import TERMINAL, ProcessState
from workspace.compute.base import Backend, BackendError, ProcessStatusState, TargetUnreachable
from workspace.models import ComputeTarget
from workspace.platform.clock import Pace, age_of
from workspace.targets.reachability import Reachability

# A runner hears of a stop with its next heartbeat, and reports the exit before it uploads the rest.
KILL_MARGIN = timedelta(seconds=4)
LOOK_EVERY_SECONDS = 5.0
log = logging.getLogger(__name__)


@dataclass
class _Progress:
    """What was stored of a group, and since when that has to change, by the monotonic clock."""

    stored: object
    at: float
    was_killed: bool = False


class Teardown:
    """Takes groups down. What it remembers is since when each has made no progress."""

    def __init__(self) -> None:
        self._progress: dict[str, _Progress] = {}
        self._looks = Pace(LOOK_EVERY_SECONDS)

    def stop_and_collect(
        self, group: ProcessGroup, backend: Backend, grace: timedelta, *, is_canceled: bool = False
    ) -> bool:
        """Stop a group, kill it after its grace, collect logs and outputs, remove and fence it.

        One that makes no progress for TRAINYARD_FINALIZE_TIMEOUT after its grace is killed, so that
        the backend can recover what it left. After twice that time it is removed as it is. A
        canceled one has that time in all, whatever progress it makes.

        Returns whether it is removed; until then, call it again.
        """
        if group.removed_at is not None:
            return True
        if not _is_collected(group, backend, grace):
            stuck = self._stuck_for(group, is_canceled=is_canceled)
            if stuck <= 2 * _timeout():
                if stuck > _timeout():
                    self._kill_once(group, backend)
                return False
        _remove(group, backend)
        return True

    def is_given_up(self, group: ProcessGroup, *, is_canceled: bool = False) -> bool:
        """Return whether the target has kept a group from ending for so long that it is left."""
        return self._stuck_for(group, is_canceled=is_canceled) > 2 * _timeout()

    def forget(self, group: ProcessGroup) -> None:
        self._progress.pop(group.label, None)
        self._looks.forget(group.label)

    def _kill_once(self, group: ProcessGroup, backend: Backend) -> None:
        """Kill what makes no progress, but not what recovers its outputs after that."""
        progress = self._progress[group.label]
        if not progress.was_killed:
            backend.kill(group.label)
            progress.was_killed = True

    def _stuck_for(self, group: ProcessGroup, *, is_canceled: bool) -> timedelta:
        """Return for how long nothing of a group was stored since its grace, as far as seen."""
        now = time.monotonic()
        progress = self._progress.get(group.label)
        if progress is None:
            from_then = now + _grace_left(group).total_seconds()
            progress = self._progress[group.label] = _Progress(_stored_of(group), from_then)
        elif not is_canceled and self._looks.is_due(group.label):
            stored = _stored_of(group)
            if stored != progress.stored:
                progress.stored, progress.at = stored, max(progress.at, now)
                progress.was_killed = False
        return timedelta(seconds=max(now - progress.at, 0.0))


def remove_at_once(group: ProcessGroup, backend: Backend) -> None:
    """Kill and remove a group; what was not collected is lost."""
    if group.removed_at is None:
        backend.kill(group.label)
        _remove(group, backend)


def abandon(group: ProcessGroup) -> None:
    """Fence a group as it is; `remove_abandoned` removes it once its target can."""
    ProcessGroup.objects.filter(pk=group.pk).update(is_fenced=True)


def uncollected_of(group: ProcessGroup) -> Sequence[Process]:
    """Return the processes whose logs and outputs are not stored completely."""
    return list(group.processes.filter(collected_at=None))


def remove_abandoned(reachability: Reachability) -> None:
    """Remove the abandoned groups whose targets are reachable again."""
    left = ProcessGroup.objects.filter(removed_at=None, is_fenced=True)
    for group in left.select_related("target", "run"):
        try:
            backend = reachability.backend(group.target)
            backend.kill(group.label)
            _remove(group, backend)
            if group.run is not None and group.run.status in TERMINAL:
                remove_checkpoints(group.run, backend)
        except TargetUnreachable as error:
            reachability.mark_unreachable(group.target, error)
        except BackendError as error:
            log.warning("%s cannot be removed yet: %s", group.label, error)
        except Exception:
            log.exception("Removing %s failed", group.label)


def remove_reappeared(reachability: Reachability) -> None:
    """Remove the groups that targets have again although their removal is stored.

    An engine that shuts down may confirm a removal and have the group again when it is back.
    """
    for target in ComputeTarget.objects.filter(unreachable_since=None):
        try:
            there = reachability.group_ids(target)
            removed = ProcessGroup.objects.filter(target=target).exclude(removed_at=None)
            for group in removed.filter(label__in=there) if there else ():
                reachability.backend(target).remove(group.label)
                log.info("%s was there again on %s; it is removed.", group.label, target.name)
        except TargetUnreachable as error:
            reachability.mark_unreachable(target, error)
        except BackendError as error:
            log.warning("%s may have groups that were removed: %s", target.name, error)
        except Exception:
            log.exception("Looking for removed groups on %s failed", target.name)


def remove_checkpoints(run: Run, backend: Backend) -> None:
    """Remove the checkpoints that the attempts of a run share, on its target and here."""
    backend.remove_checkpoints(checkpoints_of(run))
    shutil.rmtree(run_folder(run.pk) / "checkpoints", ignore_errors=True)


def _remove(group: ProcessGroup, backend: Backend) -> None:
    backend.remove(group.label)
    ProcessGroup.objects.filter(pk=group.pk).mark_removed()
    group.refresh_from_db(fields=["removed_at"])


def _is_collected(group: ProcessGroup, backend: Backend, grace: timedelta) -> bool:
    if group.stop_requested_at is None:
        group.stop_requested_at = timezone.now()
        group.grace_seconds = int(grace.total_seconds())
        group.save(update_fields=["stop_requested_at", "grace_seconds"])
        backend.stop(group.label, grace)
    uncollected = [p.name for p in group.processes.all() if p.collected_at is None]
    if not uncollected:
        return True  # a runner that has uploaded everything only has to exit
    alive = {s.name for s in backend.observe(group.label) if s.state == ProcessStatusState.ALIVE}
    exited = {p.name for p in group.processes.all() if p.state == ProcessState.EXITED}
    if alive - exited and _is_overdue(group, grace):
        backend.kill(group.label)
    dead = [name for name in uncollected if name not in alive]
    recovered = not dead or not backend.recover_outputs(group.label, dead)
    return recovered and len(dead) == len(uncollected)


def _is_overdue(group: ProcessGroup, grace: timedelta) -> bool:
    asked_at = group.stop_requested_at
    return asked_at is not None and age_of(asked_at) > grace + KILL_MARGIN


def _grace_left(group: ProcessGroup) -> timedelta:
    asked_at = group.stop_requested_at
    passed = age_of(asked_at) if asked_at else timedelta(0)
    return max(timedelta(seconds=group.grace_seconds) - passed, timedelta(0))


def _timeout() -> timedelta:
    return timedelta(seconds=settings.TRAINYARD_FINALIZE_TIMEOUT)


def _stored_of(group: ProcessGroup) -> object:
    """Return what grows or changes whenever something of a group is stored."""
    folder = folder_of(group.label)
    sizes = [path.stat().st_size for path in folder.glob("*.log")]
    sizes += [status.st_size for _, _, status in files_below(folder / "files")]
    files = RunFile.objects.filter(process__group=group)
    return (
        sum(sizes),
        list(group.processes.values_list("state", "collected_at", "uploaded_bytes")),
        files.aggregate(Count("pk"), Max("stored_at")),
    )
