"""How much may be kept of a run: every byte counts, whichever way it came, before it is stored.

What is there is measured now and then, and what comes meanwhile is added up, so that a chunk of a
log costs no look at thousands of files.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from runs.files.folders import attempt_label, files_below, run_folder
from runs.logs.log_file import folder_of
from runs.models import ProcessGroup
from workspace.compute.registry import kind_info
from workspace.platform.errors import TooLarge

MAX_FILES = 20_000
MEASURE_EVERY_SECONDS = 10.0
FULL_AGE_SECONDS = 1.0
MAX_REMEMBERED = 1000


@dataclass(frozen=True)
class QuotaOwner:
    """A run with its attempts up to `attempt`, or one replica of a service, which has no run.

    `has_checkpoints`: its checkpoints are sent here, instead of kept by its target.
    """

    label: str
    run_id: int | None
    attempt: int
    has_checkpoints: bool

    def folders(self) -> Iterator[Path]:
        """Return where everything that is kept for it lies."""
        if self.run_id is None:
            yield folder_of(self.label)
            return
        for number in range(1, self.attempt + 1):
            yield folder_of(attempt_label(self.run_id, number))
        yield run_folder(self.run_id) / "outputs"
        if self.has_checkpoints:
            yield run_folder(self.run_id) / "checkpoints"


@dataclass
class _Kept:
    size: int
    files: int
    measured_at: float


_kept: OrderedDict[tuple[Path, QuotaOwner], _Kept] = OrderedDict()
_lock = threading.Lock()


def quota_owner(group: ProcessGroup) -> QuotaOwner:
    is_here = kind_info(group.target.kind).is_this_machine
    return QuotaOwner(group.label, group.run_id, group.attempt, has_checkpoints=not is_here)


def reserve(owner: QuotaOwner, size: int, files: int = 0) -> None:
    """Count what is about to be stored. Raises TooLarge where there is no room for it.

    It may look at thousands of files, so call it outside a transaction.
    """
    for max_age in (MEASURE_EVERY_SECONDS, FULL_AGE_SECONDS):
        if _is_reserved(owner, size, files, max_age):
            return
    raise TooLarge(
        f"What is kept of a run may have {settings.TRAINYARD_RUN_MAX_BYTES / 1000**3:g} GB in all"
        f" (TRAINYARD_RUN_MAX_BYTES), in at most {MAX_FILES:,} files."
    )


@contextmanager
def reserved(owner: QuotaOwner, size: int, files: int = 0) -> Iterator[None]:
    """Reserve what the block stores; what is there is measured again where the block fails."""
    reserve(owner, size, files)
    try:
        yield
    except BaseException:
        measure_again(owner)
        raise


def measure_again(owner: QuotaOwner) -> None:
    """Note that something was removed, or was not stored after all."""
    with _lock:
        _kept.pop((settings.TRAINYARD_HOME, owner), None)


def _is_reserved(owner: QuotaOwner, size: int, files: int, max_age: float) -> bool:
    key = (settings.TRAINYARD_HOME, owner)
    with _lock:
        kept = _kept.get(key)
    if kept is None or time.monotonic() - kept.measured_at >= max_age:
        kept = _measured(owner)
    with _lock:
        _kept[key] = kept
        _kept.move_to_end(key)
        if len(_kept) > MAX_REMEMBERED:
            _kept.popitem(last=False)
        if size > 0 and kept.size + size > settings.TRAINYARD_RUN_MAX_BYTES:
            return False
        if files > 0 and kept.files + files > MAX_FILES:
            return False
        kept.size += size
        kept.files += files
    return True


def _measured(owner: QuotaOwner) -> _Kept:
    kept = _Kept(0, 0, time.monotonic())
    for folder in owner.folders():
        for _, _, status in files_below(folder):
            kept.size += status.st_size
            kept.files += 1
    return kept
