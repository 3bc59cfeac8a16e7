"""Which process holds a token, and what it may do now."""

import asyncio
import time
from dataclasses import dataclass, field

from runs.files.quota import QuotaOwner, quota_owner
from runs.logs.sources import ranks_of
from runs.models import Process, ProcessGroup
from workspace.accounts.tokens import digest_of
from workspace.platform.database_threads import run_in_database_thread

FLAGS_MAX_AGE = 1.0
GROUP_IDLE_SECONDS = 60.0
MAX_CACHED_TOKENS = 10_000


@dataclass(frozen=True)
class ProcessPrincipal:
    """A process as its requests name it; none of this ever changes."""

    process_id: int
    name: str
    group_id: int
    label: str
    channel: str
    run_id: int | None
    names: tuple[str, ...]
    ranks: tuple[str, ...]
    owner: QuotaOwner
    encrypted_secrets: str = field(repr=False)


@dataclass(frozen=True)
class GroupFlags:
    """What the platform wants of a group of processes."""

    is_fenced: bool
    is_barrier_open: bool
    should_stop: bool
    grace_seconds: int


class TokenCache:
    """Knows the callers by their tokens, and their groups' flags as of a second ago at most.

    One query a second asks for the flags of all groups that called lately, so that beats, which are
    many, cost next to nothing.
    """

    def __init__(self) -> None:
        self._callers: dict[str, ProcessPrincipal] = {}
        self._called: dict[int, float] = {}
        self._flags: dict[int, GroupFlags] = {}
        self._refreshed_at = float("-inf")
        self._lock = asyncio.Lock()

    async def principal(self, token: str) -> ProcessPrincipal | None:
        digest = digest_of(token)
        found = self._callers.get(digest)
        if found is None:
            found = await run_in_database_thread(_principal_with, digest)
            if found is not None:
                if len(self._callers) >= MAX_CACHED_TOKENS:
                    self._callers.clear()
                self._callers[digest] = found
        return found

    async def flags(
        self, caller: ProcessPrincipal, max_age: float = FLAGS_MAX_AGE
    ) -> GroupFlags | None:
        """Return the flags of the caller's group, or None when the group is no more."""
        self._called[caller.group_id] = time.monotonic()
        if not self._knows(caller.group_id, max_age):
            async with self._lock:
                if not self._knows(caller.group_id, max_age):
                    await self._refresh()
        return self._flags.get(caller.group_id)

    def forget_flags(self) -> None:
        """Have the next request ask again; something has just changed."""
        self._refreshed_at = float("-inf")

    def _knows(self, group: int, max_age: float) -> bool:
        return group in self._flags and time.monotonic() - self._refreshed_at < max_age

    async def _refresh(self) -> None:
        now = time.monotonic()
        self._called = {
            group: at for group, at in self._called.items() if now - at < GROUP_IDLE_SECONDS
        }
        self._flags = await run_in_database_thread(_flags_of, list(self._called))
        self._refreshed_at = now


def _principal_with(token_digest: str) -> ProcessPrincipal | None:
    found = Process.objects.select_related("group__run", "group__target")
    process = found.filter(token_digest=token_digest).first()
    if process is None:
        return None
    group = process.group
    return ProcessPrincipal(
        process_id=process.pk,
        name=process.name,
        group_id=group.pk,
        label=group.label,
        channel=group.channel,
        run_id=group.run_id,
        names=tuple(other.name for other in group.processes.all()),
        ranks=tuple(ranks_of(group.run)) if group.run else (),
        owner=quota_owner(group),
        encrypted_secrets=group.encrypted_secrets,
    )


def _flags_of(groups: list[int]) -> dict[int, GroupFlags]:
    rows = ProcessGroup.objects.filter(pk__in=groups).values_list(
        "pk", "is_fenced", "barrier_opened_at", "stop_requested_at", "grace_seconds"
    )
    return {
        group: GroupFlags(fenced, barrier_opened_at is not None, stop_at is not None, grace)
        for group, fenced, barrier_opened_at, stop_at, grace in rows
    }
