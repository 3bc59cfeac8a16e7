"""The nodes that a queue allocates: what is free now, what is free later, what is reserved.

*Reservation*: nodes are reserved for a waiting run from the time on when the runs that hold them
have ended. *Backfill*: a run behind it may still use such a node if it ends before that time, or
fits beside everything that is reserved there. A *blocked* node is also wanted by runs for which
nothing could be reserved; only runs that end early enough are backfilled there.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import islice
from math import inf
from operator import attrgetter

from runs.scheduling.requests import Allocation, PendingRun, Placement, SchedulableNode
from runs.scheduling.resources import NOTHING, Resources

# When allocations end whose end is unknown. A run without a known end that is backfilled stays on.
UNKNOWN_END = 1e15


@dataclass(slots=True)
class NodeAllocation:
    """What one allocation holds on one node, and when it ends at the latest (`inf`: it stays)."""

    resources: Resources
    end: float


@dataclass(slots=True, eq=False)
class NodeState:
    """One node while a queue is decided.

    `free` is what nobody holds now. The other amounts are less what is reserved:
    `free_soon` when the allocations that are ending are gone, `free_finally` when all are gone that
    do not stay, and `free_beside_reservations` from `reserved_from` on, when the first reservation
    begins. Runs that end by `backfill_until` delay no reservation.
    """

    name: str
    index: int
    capacity: Resources
    free_gpus: list[str]
    free: Resources
    free_soon: Resources
    free_finally: Resources
    free_beside_reservations: Resources
    allocations: list[NodeAllocation] = field(default_factory=list)
    reserved: Resources = NOTHING
    reserved_from: float = inf
    backfill_until: float = inf
    is_blocked: bool = False

    @classmethod
    def idle(cls, node: SchedulableNode, index: int) -> "NodeState":
        """Return the state of a node on which nothing runs."""
        whole = node.capacity
        return cls(node.name, index, whole, list(node.gpus), whole, whole, whole, whole)

    def allocate(
        self, resources: Resources, gpus: Sequence[str], end: float, now: float
    ) -> NodeAllocation:
        """Hold resources from now until an end."""
        allocation = NodeAllocation(resources, end)
        self.allocations.append(allocation)
        self.free_gpus = [gpu for gpu in self.free_gpus if gpu not in gpus]
        self.free = Resources(
            self.free.cpus - resources.cpus,
            self.free.memory_bytes - resources.memory_bytes,
            len(self.free_gpus),
            inf,
        )
        if end > now:
            self.free_soon -= resources
        if end > UNKNOWN_END:
            self.free_finally -= resources
        return allocation

    def free_at(self, time: float) -> Resources | None:
        """Return what is free at a time beside all reservations; None if the node is blocked."""
        if self.is_blocked:
            return None
        taken = self.reserved
        cpus, memory, gpus = taken.cpus, taken.memory_bytes, taken.gpus
        for allocation in self.allocations:
            if allocation.end > time:
                cpus += allocation.resources.cpus
                memory += allocation.resources.memory_bytes
                gpus += allocation.resources.gpus
        whole = self.capacity
        return Resources(whole.cpus - cpus, whole.memory_bytes - memory, whole.gpus - gpus, inf)

    def free_until(self, end: float) -> Resources | None:
        """Return what a run that ends then may use now without delaying a reservation."""
        if end <= self.backfill_until:
            return self.free
        if self.is_blocked:
            return None
        return self.free.capped_by(self.free_beside_reservations)

    def reserve(self, resources: Resources) -> None:
        self.reserved += resources
        self.free_soon -= resources
        self.free_finally -= resources

    def update_free_beside_reservations(self) -> None:
        self.free_beside_reservations = self.free_at(self.reserved_from) or NOTHING


Nodes = Mapping[str, NodeState]
FreeOf = Callable[[NodeState], Resources | None]
capacity_of_node: FreeOf = attrgetter("capacity")
free_now: FreeOf = attrgetter("free")


def _by_load(state: NodeState) -> tuple[bool, int, int]:
    return bool(state.capacity.gpus), len(state.allocations), state.index


def _by_free_gpus(state: NodeState) -> tuple[int, int, int]:
    return len(state.free_gpus), len(state.allocations), state.index


def _by_gpus(state: NodeState) -> tuple[float, int]:
    return state.capacity.gpus, state.index


class NodePool:
    """The nodes of one pool. What is free only becomes less, but for what preemption releases."""

    def __init__(
        self, nodes: Sequence[SchedulableNode], allocations: Iterable[Allocation], now: float
    ) -> None:
        self.now = now
        states = [NodeState.idle(node, index) for index, node in enumerate(nodes)]
        self.nodes: Nodes = {state.name: state for state in states}
        self._parts: dict[int, list[NodeAllocation]] = {}
        self._without_known_end: list[Allocation] = []
        self._earliest_end = UNKNOWN_END
        self._has_reservations = False
        for allocation in allocations:
            self._add(allocation)
        self._sorted_by_load = sorted(states, key=_by_load)
        self._sorted_by_free_gpus = sorted(states, key=_by_free_gpus)
        self._sorted_by_gpus = sorted(states, key=_by_gpus)

    def named(self, names: Iterable[str]) -> Nodes:
        """Return nodes by name, all of them if no names are given."""
        wanted = frozenset(names)
        return {name: state for name, state in self.nodes.items() if not wanted or name in wanted}

    def could_ever_start(self, run: PendingRun, on: Nodes) -> bool:
        """Return whether a run could start if these nodes were idle."""
        return self._find(run, on, capacity_of_node) is not None

    def fits_now(self, run: PendingRun, on: Nodes) -> bool:
        """Return whether a run fits on what is free now, reserved or not."""
        return self._find(run, on, free_now, is_now=True) is not None

    def fits_soon(self, run: PendingRun, on: Nodes) -> bool:
        """Return whether a run fits once the allocations that are ending are gone."""
        return bool(self.nodes_with_released(run, on, {}))

    # Starting and backfill

    def start(self, run: PendingRun, on: Nodes) -> tuple[Placement, ...] | None:
        """Allocate nodes and GPUs to a run, if that delays no reservation; else return None."""
        end = inf if run.seconds is None else self.now + run.seconds
        found = self._find(run, on, lambda state: state.free_until(end), is_now=True)
        if found is None:
            return None
        # A run that was not backfilled ends before all reservations, as those that hold nodes do.
        stays_until = min(end, inf if self._has_reservations else UNKNOWN_END)
        self._earliest_end = min(self._earliest_end, stays_until)
        return tuple(
            self._place(state, need, stays_until)
            for state, need in zip(found, run.processes, strict=True)
        )

    def _place(self, state: NodeState, need: Resources, end: float) -> Placement:
        for order, key in (
            (self._sorted_by_load, _by_load),
            (self._sorted_by_free_gpus, _by_free_gpus),
        ):
            del order[bisect_left(order, key(state), key=key)]
        gpus = tuple(state.free_gpus[: int(need.gpus)])
        state.allocate(need, gpus, end, self.now)
        insort(self._sorted_by_load, state, key=_by_load)
        insort(self._sorted_by_free_gpus, state, key=_by_free_gpus)
        if end > state.reserved_from:
            state.free_beside_reservations -= need
        return Placement(state.name, gpus, need.cpus, need.memory_bytes)

    # Reservation

    def reserve(self, run: PendingRun, on: Nodes) -> float | None:
        """Reserve nodes for a run from the earliest possible time on.

        Return that time (infinity if it depends on unknown ends), or None if none is possible.
        """
        self._has_reservations = True
        self._count_backfilled_as_staying(run)
        if self._find(run, on, lambda s: None if s.is_blocked else s.free_finally) is None:
            return None
        ends = {a.end for state in on.values() for a in state.allocations if a.end < UNKNOWN_END}
        times = sorted(ends | {self.now})
        first = bisect_left(times, True, key=lambda time: bool(self._find_at(time, run, on)))
        start = times[first] if first < len(times) else UNKNOWN_END
        found = self._find_at(start, run, on)
        assert found is not None  # noqa: S101 - the search above found it
        for state, need in zip(found, run.processes, strict=True):
            state.reserve(need)
        for state in set(found):
            state.reserved_from = min(state.reserved_from, start)
            state.backfill_until = min(state.backfill_until, self._known_time(start))
            state.update_free_beside_reservations()
        return start if start < UNKNOWN_END else inf

    def block(self, run: PendingRun, on: Nodes) -> None:
        """Block the nodes that a run could use, except for runs that end before any other does."""
        self._has_reservations = True
        until = self._known_time(self._earliest_end)
        for state in on.values():
            if not state.is_blocked and any(need.fits(state.capacity) for need, _ in run.batches):
                state.is_blocked = True
                state.backfill_until = min(state.backfill_until, until)

    def _find_at(self, time: float, run: PendingRun, on: Nodes) -> list[NodeState] | None:
        return self._find(run, on, lambda state: state.free_at(time))

    def _count_backfilled_as_staying(self, run: PendingRun) -> None:
        """Count allocations of unknown end that were backfilled past a run as staying beside it."""
        for allocation in [a for a in self._without_known_end if _was_backfilled_past(a, run)]:
            self._without_known_end.remove(allocation)
            for on_node in self._parts[id(allocation)]:
                on_node.end = inf
            for part in allocation.parts:
                state = self.nodes[part.node]
                state.free_finally -= part.resources
                state.update_free_beside_reservations()

    def _known_time(self, time: float) -> float:
        return time if time < UNKNOWN_END else self.now

    # Preemption

    def freed_by_ending(self, allocations: Iterable[Allocation]) -> dict[str, Resources]:
        """Return by node what is free once these and the allocations that are ending are gone."""
        freed: dict[str, Resources] = {}
        for allocation in allocations:
            for part in allocation.parts:
                state = self.nodes.get(part.node)
                if state is not None:
                    freed[part.node] = freed.get(part.node, state.free_soon) + part.resources
        return freed

    def nodes_with_released(
        self, run: PendingRun, on: Nodes, freed: Mapping[str, Resources]
    ) -> frozenset[str]:
        """Return the nodes for a run once resources were freed on some, or none if it fits not."""
        found = self._find(
            run, on, lambda s: None if s.is_blocked else freed.get(s.name, s.free_soon)
        )
        return frozenset(state.name for state in found or ())

    def release(self, allocation: Allocation) -> None:
        """Count an allocation as ending now."""
        for on_node in self._parts.get(id(allocation), ()):
            on_node.end = self.now
        for part in allocation.parts:
            state = self.nodes.get(part.node)
            if state is not None:
                state.free_soon += part.resources
                state.update_free_beside_reservations()

    def _add(self, allocation: Allocation) -> None:
        end = UNKNOWN_END if allocation.ends_at is None else max(allocation.ends_at, self.now)
        end = self.now if allocation.is_ending else end
        if end == UNKNOWN_END and all(part.node in self.nodes for part in allocation.parts):
            self._without_known_end.append(allocation)
        self._earliest_end = min(self._earliest_end, end)
        for part in allocation.parts:
            state = self.nodes.get(part.node)
            if state is not None:
                on_node = state.allocate(part.resources, part.gpus, end, self.now)
                self._parts.setdefault(id(allocation), []).append(on_node)

    # Choosing nodes

    def _order(self, need: Resources, is_now: bool) -> Iterator[NodeState]:
        """Return nodes by preference: for GPUs the fullest that has enough, else the least loaded.

        So GPUs that are free together stay together, and nodes without any get other work first.
        """
        if not need.gpus:
            return iter(self._sorted_by_load)
        if is_now:
            nodes = self._sorted_by_free_gpus
            first = bisect_left(nodes, need.gpus, key=lambda state: len(state.free_gpus))
        else:
            nodes = self._sorted_by_gpus
            first = bisect_left(nodes, need.gpus, key=lambda state: state.capacity.gpus)
        return islice(nodes, first, None)

    def _find(
        self, run: PendingRun, on: Nodes, free_of: FreeOf, *, is_now: bool = False
    ) -> list[NodeState] | None:
        """Return a node for each process of a run, spread over as many nodes as there are."""
        chosen: dict[int, NodeState] = {}
        left_on: dict[NodeState, Resources] = {}
        placed: dict[NodeState, int] = {}
        leaves_some_idle = run.leaves_idle != NOTHING
        for need, members in run.batches:
            missing = members[::-1]
            candidates: list[tuple[int, int, NodeState]] = []
            for rank, state in enumerate(self._order(need, is_now)):
                if state.name not in on:
                    continue
                free = left_on.get(state) or free_of(state)
                if free is None:
                    continue
                if leaves_some_idle and state not in left_on:
                    free -= run.leaves_idle
                if not need.fits(free):
                    continue
                if state not in placed:
                    chosen[missing.pop()] = state
                    left_on[state] = free - need
                    placed[state] = 1
                candidates.append((placed[state], rank, state))
                if not missing:
                    break
            if missing:
                heapify(candidates)
            while missing and candidates:
                _, rank, state = heappop(candidates)
                if need.fits(left_on[state]):
                    chosen[missing.pop()] = state
                    left_on[state] -= need
                    placed[state] += 1
                    heappush(candidates, (placed[state], rank, state))
            if missing:
                return None
        return [chosen[index] for index in range(len(run.processes))]


def _was_backfilled_past(allocation: Allocation, run: PendingRun) -> bool:
    return allocation.since > run.since and (-allocation.priority, allocation.rank) > (
        -run.priority,
        run.rank,
    )
