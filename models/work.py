"""Work in an environment: asked for here, done once by a worker, watched while it goes on."""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import django_rq
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.utils import timezone
from redis.exceptions import RedisError

from models.models import Conversion, Import, Work, WorkState
from workspace.compute.base import BackendError
from workspace.compute.errand import TooLong
from workspace.errors import DomainError

JOBS: dict[type[Work], str] = {
    Conversion: "models.jobs.convert_to_onnx",
    Import: "models.jobs.bring_in",
}
JOB_SECONDS = 3 * 3600
HEARTBEAT_SECONDS = 2.0
ABANDONED_AFTER = timedelta(seconds=15)
BENCH = "tmp"  # how the names of folders begin that are gone when work is over
LOG_SHOWN_BYTES = 64 * 1024
ABANDONED = "The worker that did this was stopped before it was done. Try again."
Found = TypeVar("Found", bound=Work)
Say = Callable[[bytes], None]
log = logging.getLogger(__name__)


class Failed(Exception):
    """The work cannot be done; the text is for the person who asked for it."""


def folder_of(work: Work) -> Path:
    """Give where work keeps its log, and its files while it goes on."""
    name = f"{type(work).__name__.lower()}-{work.pk}"
    return _home() / name


def _home() -> Path:
    return Path(settings.TRAINYARD_HOME) / "work"


def log_of(work: Work) -> str:
    """Give the end of what work said."""
    try:
        with (folder_of(work) / "log").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_SHOWN_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def ask_for(work: Work) -> None:
    """Have a worker do it, after commit; asking often does it once."""
    transaction.on_commit(partial(_enqueue, type(work), work.pk))


def _enqueue(kind: type[Work], pk: int) -> None:
    job_id = f"{kind.__name__.lower()}-{pk}"
    try:
        queue = django_rq.get_queue()
        if job_id not in queue.get_job_ids():
            queue.enqueue(JOBS[kind], pk, job_id=job_id, job_timeout=JOB_SECONDS)
    except RedisError as error:
        log.warning("The broker is away, so %s has to wait: %s", job_id, error)


def recover_abandoned() -> None:
    """End what a dead worker left, and ask again for what waits."""
    now = timezone.now()
    for kind in JOBS:
        works = kind._default_manager
        abandoned = works.filter(state=WorkState.RUNNING, heartbeat_at__lt=now - ABANDONED_AFTER)
        for work in abandoned:
            left = _benches_in(folder_of(work))
            if abandoned.filter(pk=work.pk).update(
                state=WorkState.FAILED, error=ABANDONED, ended_at=now
            ):
                _remove(left)
        waiting = works.filter(state=WorkState.WAITING, created_at__lt=now - ABANDONED_AFTER)
        for pk in waiting.values_list("pk", flat=True):
            _enqueue(kind, pk)


def clear_benches() -> None:
    """Remove what dead workers left of work that is over."""
    left = {place: _benches_in(place) for place in _home().glob("*-*")}
    goes_on = {
        folder_of(work)
        for kind in JOBS
        for work in kind._default_manager.filter(state=WorkState.RUNNING)
    }
    for place, benches in left.items():
        if place not in goes_on:
            _remove(benches)


def _benches_in(folder: Path) -> list[Path]:
    return [*folder.glob(f"{BENCH}*")]


def _remove(benches: list[Path]) -> None:
    for bench in benches:
        shutil.rmtree(bench, ignore_errors=True)


def carry_out(kind: type[Found], pk: int, act: Callable[[Found, Say], dict[str, Any]]) -> None:
    """Do work that nobody does yet: `act` gives what is to be noted of it, or raises why not."""
    works = kind._default_manager
    claimed = works.filter(pk=pk, state=WorkState.WAITING).update(
        state=WorkState.RUNNING, heartbeat_at=timezone.now(), error=""
    )
    if not claimed:
        return
    work = works.get(pk=pk)
    changes: dict[str, Any] = {}
    try:
        with _beating(work), _logging(work) as say:
            changes = {**act(work, say), "state": WorkState.DONE}
    except (Failed, DomainError, BackendError) as error:
        changes = {"state": WorkState.FAILED, "error": str(error)}
    except TooLong:
        changes = {"state": WorkState.FAILED, "error": "It took longer than it may, and was ended."}
    except Exception as error:
        log.exception("%s came to an end it should not have", work)
        words = f"This came to an end it should not have: {error or type(error).__name__}"
        changes = {"state": WorkState.FAILED, "error": words}
    finally:
        if changes:
            works.filter(pk=pk, state=WorkState.RUNNING).update(
                **changes, step="", ended_at=timezone.now()
            )


def step(work: Work, words: str) -> None:
    """Note what is being done now."""
    type(work)._default_manager.filter(pk=work.pk).update(step=words)


@contextmanager
def _logging(work: Work) -> Iterator[Say]:
    path = folder_of(work) / "log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:

        def say(chunk: bytes) -> None:
            file.write(chunk)

        yield say


@contextmanager
def _beating(work: Work) -> Iterator[None]:
    """Show that the work goes on."""
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(work, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()


def _beat(work: Work, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_SECONDS):
        with suppress(DatabaseError):
            close_old_connections()
            type(work)._default_manager.filter(pk=work.pk).update(heartbeat_at=timezone.now())
    connection.close()
