"""Words why a run waits, in one sentence with numbers. Every wait reason is worded here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from heapq import nlargest
from math import inf, isfinite
from operator import itemgetter

from runs.scheduling.node_pool import NodePool, Nodes
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    SchedulingLimits,
    TargetLimits,
    TeamQuota,
)
from runs.scheduling.resources import Resources, amount_text, listed, resources_text, total

MAX_HOLDERS_NAMED = 2
NO_RESOURCES = Resources()


def target_unreachable(target: str, error: Exception) -> str:
    return f"Target {target} is unreachable: {error}"


def target_unusable(target: str, error: Exception) -> str:
    return f"Target {target} cannot be used: {error}"


def target_paused(target: str) -> str:
    return f"Target {target} is paused by an admin."


def target_draining(target: str) -> str:
    return f"Target {target} is draining: no new runs start on it."


def preempted_by(title: str) -> str:
    return f"Its resources go to {title}."


class WaitReasons:
    """Collects why runs wait. Runs that wait for nodes get their reason when all is decided."""

    def __init__(
        self, pool: NodePool, allocations: Sequence[Allocation], limits: SchedulingLimits
    ) -> None:
        self._pool = pool
        self._allocations = allocations
        self._limits = limits
        self._waiting: list[tuple[PendingRun, bool]] = []
        self._victims: dict[int, Sequence[Allocation]] = {}
        self._known: dict[tuple[object, ...], str] = {}
        self._used_of_target: dict[int, Resources] = {}
        self._used_of_team: dict[tuple[int, int], Resources] = {}
        for one in allocations:
            self._count(one, one.resources, int(one.run_id is not None))
        self._free = cache(self._free_on)
        self._largest = cache(self._largest_holders)

    def note_start(self, run: PendingRun) -> None:
        self._count(run, run.need, 1)

    def note_waiting(self, run: PendingRun, fits_now: bool) -> None:
        self._waiting.append((run, fits_now))

    def note_preemption(self, run: PendingRun, victims: Sequence[Allocation]) -> None:
        self._victims[run.run_id] = victims
        if not self._waiting or self._waiting[-1][0] is not run:
            self._waiting.append((run, False))

    def _count(self, one: Allocation | PendingRun, amount: Resources, runs: int) -> None:
        target, team = one.target_id, (one.target_id, one.team_id)
        self._used_of_target[target] = self._used_of_target.get(target, NO_RESOURCES) + amount
        counted = Resources(gpus=amount.gpus, processes=runs)
        self._used_of_team[team] = self._used_of_team.get(team, NO_RESOURCES) + counted

    # Runs that wait for a limit, or cannot start at all

    def quota_used_up(self, target: TargetLimits, quota: TeamQuota) -> str:
        return (
            f"Team {quota.team} has used {quota.gpu_hours_used:.1f} of its {quota.gpu_hours or 0:g}"
            f" GPU-hours this month on {target.name}; the run waits for next month or a higher"
            " limit."
        )

    def over_limit(self, run: PendingRun) -> str:
        target, quota = self._target(run), self._quota(run)
        if run.need.exceeding(target.limit) or quota is None:
            return f"Needs {needs(run)}; {_target_limited(target, run.need)}."
        return f"Needs {needs(run)}; {_team_limited(quota)} on {target.name}."

    def never_fits(self, run: PendingRun) -> str:
        target = self._target(run)
        nodes = self._pool.named(target.nodes)
        if not nodes:
            return f"Needs {needs(run)}; no node of {target.name} is up."
        its_nodes = f"its {len(nodes)} nodes have" if len(nodes) > 1 else "its node has"
        return (
            f"Needs {needs(run)}; does not fit on {target.name} even when idle: {its_nodes}"
            f" {resources_text(_capacity(nodes))}."
        )

    def limit_reached(self, run: PendingRun, *, is_target: bool) -> str:
        """Word that the limit of the target, or else of the team, is used up."""
        target, quota = self._target(run), self._quota(run)
        if is_target or quota is None:
            used = self._used_of_target.get(run.target_id, NO_RESOURCES)
            short = (used + run.need).exceeding(target.limit)
            if not short:
                return (
                    f"Needs {needs(run)}; runs ahead in the queue are waiting for the rest of what"
                    f" target {target.name} is limited to."
                )
            in_use = listed(amount_text(name, getattr(used, name)) for name in short)
            return (
                f"Needs {needs(run)}; {_target_limited(target, used + run.need)}, with {in_use} in"
                " use."
            )
        used = self._used_of_team.get((run.target_id, run.team_id), NO_RESOURCES)
        counted = Resources(gpus=run.need.gpus, processes=1)
        is_over = (used + counted).exceeding(quota.limit)
        rest = "" if is_over else "; its runs ahead in the queue need the rest"
        return (
            f"Needs {needs(run)}; {_team_limited(quota)} on {target.name} and has"
            f" {_runs(int(used.processes))} and {amount_text('gpus', used.gpus)}{rest}."
        )

    # Runs that wait for nodes

    def reasons(self, latest_starts: dict[int, float]) -> dict[int, str]:
        """Return why all runs that wait for nodes do, with what is free after all decisions."""
        first = self._waiting[0][0] if self._waiting else None
        return {
            run.run_id: self._reason(run, fits_now, first, latest_starts.get(run.run_id, inf))
            for run, fits_now in self._waiting
        }

    def _reason(
        self, run: PendingRun, fits_now: bool, first: PendingRun | None, start: float
    ) -> str:
        victims = self._victims.get(run.run_id)
        if victims:
            return self._preempting(run, victims)
        key = (run.processes, run.assumed, run.target_id, run.team_id, fits_now, run is first)
        if key not in self._known:
            self._known[key] = (
                self._reserved_for(run, first) if fits_now and first else self._short(run, first)
            )
        reason = self._known[key]
        if isfinite(start) and start > self._pool.now:
            reason += f" Starts by about {clock(start, self._pool.now)}."
        return reason

    def _preempting(self, run: PendingRun, victims: Sequence[Allocation]) -> str:
        titles = listed(self._title(one, run) for one in victims[:MAX_HOLDERS_NAMED])
        more = len(victims) - MAX_HOLDERS_NAMED
        others = f" and {more} more" if more > 0 else ""
        return f"Needs {needs(run)}; preempting {titles}{others} (lower priority)."

    def _reserved_for(self, run: PendingRun, first: PendingRun) -> str:
        if run is first:
            return f"Needs {needs(run)}; starts when the runs that are ending have stopped."
        return (
            f"Needs {needs(run)}; the free resources are reserved for {self._title(first, run)},"
            " which is ahead in the queue."
        )

    def _short(self, run: PendingRun, first: PendingRun | None) -> str:
        free, whole = self._free(run.target_id)
        short = run.need.exceeding(free)
        wanted = [name for name in ("gpus", "cpus", "memory_bytes") if getattr(run.need, name)]
        amounts = listed(
            amount_text(name, getattr(free, name), of=getattr(whole, name))
            for name in short[:1] or wanted
        )
        if short:
            parts = [f"{amounts} {_are(getattr(free, short[0]))} free"]
        else:
            parts = [f"{amounts} are free, but fragmented across nodes"]
        resource = (short or wanted)[0]
        parts += [
            f"{self._title(one, run)} holds {amount_text(resource, amount, with_unit=False)}"
            + self._until(one)
            for amount, one in self._largest(run.target_id, resource)
        ]
        if first is not None and run is not first:
            parts.append(f"{self._title(first, run)} is ahead in the queue")
        return f"Needs {needs(run)}; {'; '.join(parts)}."

    def _largest_holders(self, target_id: int, resource: str) -> list[tuple[float, Allocation]]:
        """Return who holds the most of a resource on a target's nodes, and how much."""
        nodes = self._pool.named(self._limits.targets[target_id].nodes)
        amounts = [
            (
                sum(getattr(part.resources, resource) for part in one.parts if part.node in nodes),
                one,
            )
            for one in self._allocations
        ]
        return nlargest(MAX_HOLDERS_NAMED, (one for one in amounts if one[0]), key=itemgetter(0))

    def _free_on(self, target_id: int) -> tuple[Resources, Resources]:
        """Return what is free on a target's nodes, and their capacity."""
        nodes = self._pool.named(self._limits.targets[target_id].nodes)
        free = [state.free for state in nodes.values()]
        return Resources(
            sum(max(one.cpus, 0) for one in free),
            sum(max(one.memory_bytes, 0) for one in free),
            sum(one.gpus for one in free),
            inf,
        ), _capacity(nodes)

    def _until(self, allocation: Allocation) -> str:
        if allocation.is_ending:
            return " and is ending"
        if allocation.ends_at is None:
            return ""
        return f" until about {clock(allocation.ends_at, self._pool.now)}"

    def _title(self, one: Allocation | PendingRun, reader: PendingRun) -> str:
        if one.team_id == reader.team_id:
            return one.title
        return f"another team's {'run' if one.run_id is not None else 'service'}"

    def _target(self, run: PendingRun) -> TargetLimits:
        return self._limits.targets[run.target_id]

    def _quota(self, run: PendingRun) -> TeamQuota | None:
        return self._limits.quotas.get((run.target_id, run.team_id))


def needs(run: PendingRun) -> str:
    """Word what a run needs: `4 GPUs`, or `2 processes with 4 GPUs each`, and what is assumed."""
    count = len(run.processes)
    if len(run.batches) == 1:
        each = resources_text(run.processes[0])
        if count == 1:
            return (each or "1 process") + _assumed(run)
        return f"{count} processes" + (f" with {each} each" if each else "") + _assumed(run)
    together = resources_text(run.need)
    return f"{count} processes" + (f" with {together} in total" if together else "") + _assumed(run)


def _assumed(run: PendingRun) -> str:
    more = total(run.assumed)
    names = [
        name for name, amount in (("CPUs", more.cpus), ("memory", more.memory_bytes)) if amount
    ]
    return f" ({listed(names)} not stated, so assumed)" if names else ""


def clock(time: float, now: float) -> str:
    """Return a time of the day in UTC, with the date if it is on another day."""
    at, today = datetime.fromtimestamp(time, UTC), datetime.fromtimestamp(now, UTC)
    return f"{at:%H:%M} UTC" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M} UTC"


def _are(count: float) -> str:
    return "is" if count == 1 else "are"


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _target_limited(target: TargetLimits, need: Resources) -> str:
    limits = listed(
        amount_text(name, getattr(target.limit, name)) for name in need.exceeding(target.limit)
    )
    return f"target {target.name} is limited to {limits}"


def _team_limited(quota: TeamQuota) -> str:
    parts = []
    if quota.max_runs is not None:
        parts.append(f"{quota.max_runs} concurrent run{'' if quota.max_runs == 1 else 's'}")
    if quota.max_gpus is not None:
        parts.append(amount_text("gpus", quota.max_gpus))
    return f"team {quota.team} is limited to {listed(parts)}"


def _capacity(nodes: Nodes) -> Resources:
    return total(state.capacity for state in nodes.values())
