"""Files that people and programs put among a run's outputs, beside those that its processes leave.

They belong to no process, and may come and go at any time, also after the run's end.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from runs.files.folders import attempt_label, run_folder
from runs.files.quota import QuotaOwner, measure_again, quota_owner, reserved
from runs.files.store import OUTPUTS, DeclaredFile, checked, put_file, unlink_output
from runs.models import ProcessGroup, Run, RunFile
from runs.selectors import latest_attempt
from runs.source.blobs import CHUNK, temporary_file
from runs.source.paths import shown
from workspace.platform.errors import Conflict, NotFound, TooLarge
from workspace.sizes import size_text


def receive_file(run: Run, path: str, read: Callable[[int], bytes]) -> tuple[DeclaredFile, bool]:
    """Store what `read` returns as an output; return it, and whether the path is new.

    What was there stays until all bytes have come.
    """
    checked(path, OUTPUTS)
    with temporary_file() as (place, incoming):
        size, digest = _receive(read, incoming)
        file = DeclaredFile(path, size, digest)
        return file, _store(run, file, place)


def remove_file(run: Run, path: str) -> None:
    """Remove an output. Raises Conflict for one of a process while the run is not over."""
    with transaction.atomic():
        _lock(run)
        held = RunFile.objects.filter(run=run, path=path).first()
        if held is None:
            raise NotFound(f"Run {run.number} has no output {shown(path)}.")
        if held.process_id is not None and not run.is_over:
            raise Conflict(
                f"{shown(path)} is of a process of run {run.number}, which is not over: wait for"
                " its end, or cancel it first."
            )
        unlink_output(run.pk, path)
        held.delete()
    measure_again(_owner(run))


def _receive(read: Callable[[int], bytes], incoming: BinaryIO) -> tuple[int, str]:
    limit = settings.TRAINYARD_RUN_MAX_BYTES
    digester, size = hashlib.sha256(), 0
    while piece := read(CHUNK):
        size += len(piece)
        if size > limit:
            raise TooLarge(
                f"What is kept of a run may have {size_text(limit)} in all"
                " (TRAINYARD_RUN_MAX_BYTES)."
            )
        digester.update(piece)
        incoming.write(piece)
    incoming.flush()
    os.fsync(incoming.fileno())  # here already: later the run is locked
    return size, digester.hexdigest()


def _store(run: Run, file: DeclaredFile, content: Path) -> bool:
    held = RunFile.objects.filter(run=run, path=file.path)
    before = held.first()
    more = file.size - (before.size_bytes if before else 0)
    with reserved(_owner(run), more, files=0 if before else 1), transaction.atomic():
        _lock(run)
        put_file(content, run_folder(run.pk) / file.path, file.path)
        _, is_new = RunFile.objects.update_or_create(
            run=run,
            path=file.path,
            defaults={
                "process": None,
                "size_bytes": file.size,
                "digest": file.digest,
                "stored_at": timezone.now(),
            },
        )
    return is_new


def _lock(run: Run) -> None:
    """Lock a run and its attempt, whose processes write the same outputs."""
    if not Run.objects.select_for_update().filter(pk=run.pk, deleted_at=None).exists():
        raise NotFound(f"Run {run.number} was deleted.")
    group = latest_attempt(run)
    if group is not None:
        ProcessGroup.objects.select_for_update().get(pk=group.pk)


def _owner(run: Run) -> QuotaOwner:
    group = latest_attempt(run)
    if group is None:
        return QuotaOwner(attempt_label(run.pk, 0), run.pk, attempt=0, has_checkpoints=False)
    return quota_owner(group)
