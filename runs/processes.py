"""Which process holds a token, what it may do now, and the source it is given."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.db import close_old_connections
from django.utils.module_loading import import_string

from runs.blobs import store_for
from runs.models import Process, ProcessGroup
from runs.snapshots import manifest_of, tar_of
from workspace.tokens import digest_of

SOURCES = {"snapshot": "runs.processes.snapshot_tar", "model": "models.files.tar_for_process"}
FLAGS_LAST = 1.0
FORGOTTEN_AFTER = 60.0
MOST_KNOWN = 10_000
T = TypeVar("T")

_threads = ThreadPoolExecutor(4, thread_name_prefix="database")


@dataclass(frozen=True)
class Caller:
    """A process as its requests name it; none of this ever changes."""

    process_id: int
    name: str
    group_id: int
    label: str
    channel: str
    run_id: int | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class Flags:
    """What the platform wants of a group of processes."""

    is_fenced: bool
    may_go: bool
    should_stop: bool
    grace_seconds: int


class Roll:
    """Knows the callers by their tokens, and their groups' flags as of a second ago at most.

    One query a second asks for the flags of all groups that called lately, so that beats, which are
    many, cost next to nothing.
    """

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}
        self._called: dict[int, float] = {}
        self._flags: dict[int, Flags] = {}
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def caller(self, token: str) -> Caller | None:
        digest = digest_of(token)
        found = self._callers.get(digest)
        if found is None:
            found = await in_database(_caller_with, digest)
            if found is not None:
                if len(self._callers) >= MOST_KNOWN:
                    self._callers.clear()
                self._callers[digest] = found
        return found

    async def flags(self, caller: Caller, max_age: float = FLAGS_LAST) -> Flags | None:
        """Give the flags of the caller's group, or None when the group is no more."""
        self._called[caller.group_id] = time.monotonic()
        if not self._knows(caller.group_id, max_age):
            async with self._lock:
                if not self._knows(caller.group_id, max_age):
                    await self._ask()
        return self._flags.get(caller.group_id)

    def forget_flags(self) -> None:
        """Have the next request ask again; something has just changed."""
        self._asked_at = float("-inf")

    def _knows(self, group: int, max_age: float) -> bool:
        return group in self._flags and time.monotonic() - self._asked_at < max_age

    async def _ask(self) -> None:
        now = time.monotonic()
        self._called = {
            group: at for group, at in self._called.items() if now - at < FORGOTTEN_AFTER
        }
        self._flags = await in_database(_flags_of, list(self._called))
        self._asked_at = now


def source_of(process: Process) -> Iterator[bytes]:
    """Give the tar that a process's runner unpacks before the start."""
    make: Iterator[bytes] = import_string(SOURCES[process.launch["source"]])(process)
    return make


def snapshot_tar(process: Process) -> Iterator[bytes]:
    run = process.group.run
    if run is None:
        raise ValueError("Only a run has a snapshot.")
    return tar_of(store_for(run.team), manifest_of(run.snapshot))


async def in_database(ask: Callable[..., T], *args: Any) -> T:
    """Ask the database in a thread, so that no one else waits for the answer."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(_asked, ask, *args))


def _asked(ask: Callable[..., T], *args: Any) -> T:
    close_old_connections()
    try:
        return ask(*args)
    finally:
        close_old_connections()


def _caller_with(token_digest: str) -> Caller | None:
    process = Process.objects.select_related("group").filter(token_digest=token_digest).first()
    if process is None:
        return None
    group = process.group
    return Caller(
        process_id=process.pk,
        name=process.name,
        group_id=group.pk,
        label=group.label,
        channel=group.channel,
        run_id=group.run_id,
        names=tuple(other.name for other in group.processes.all()),
    )


def _flags_of(groups: list[int]) -> dict[int, Flags]:
    rows = ProcessGroup.objects.filter(pk__in=groups).values_list(
        "pk", "is_fenced", "go_at", "stop_requested_at", "grace_seconds"
    )
    return {
        group: Flags(fenced, go_at is not None, stop_at is not None, grace)
        for group, fenced, go_at, stop_at, grace in rows
    }
