"""The nodes that a queue gives out: what is free now, what is free later, what is kept for whom."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import islice
from math import inf
from operator import itemgetter

from runs.queue_terms import ROUNDING, Holding, Machine, Place, Share, Waiting

Room = tuple[float, float, float]
# When runs have ended of which nobody knows the end. What starts now without a known end stays on.
FAR = 1e15
NUMBER: Callable[[tuple[int, int, int]], int] = itemgetter(2)
NONE: Room = (0.0, 0.0, 0.0)
RoomOf = Callable[[int], Room | None]


@dataclass(slots=True)
class Tenant:
    """What one holding has on one node, and when it leaves at the latest (`inf`: it stays)."""

    end: float
    cpus: float
    memory_bytes: float
    gpus: float


class Floor:
    """Nodes by number. Everything only becomes less while a queue is decided.

    Nodes are kept for a waiting run from the time on when those that hold them have left, be it FAR
    away. Another may use such a node if it leaves before that time, where it is known, or fits
    beside all that it is kept for and those it was let past before. A `closed` node is also wanted
    by runs for which nothing could be kept.
    """

    def __init__(
        self, machines: Sequence[Machine], holdings: Iterable[Holding], now: float
    ) -> None:
        self.now = now
        self.machines = machines
        self._numbers = {machine.name: number for number, machine in enumerate(machines)}
        self._cpus = [machine.cpus for machine in machines]
        self._memory: list[float] = [machine.memory_bytes for machine in machines]
        self._gpus = [list(machine.gpus) for machine in machines]
        self._load = [0 for _ in machines]
        self._tenants: list[list[Tenant]] = [[] for _ in machines]
        self._of: dict[int, list[Tenant]] = {}
        self._kept = [(0.0, 0.0, 0.0) for _ in machines]
        self._soon = [self._whole(number) for number in range(len(machines))]
        self._far = list(self._soon)
        self._kept_from = [inf for _ in machines]
        self._leave_by = [inf for _ in machines]
        self._later: list[Room] = [self._whole(number) for number in range(len(machines))]
        self._closed = [False for _ in machines]
        self._is_kept = False
        self._first_end = FAR
        self._endless: list[Holding] = []
        for holding in holdings:
            self._move_in(holding)
        numbers = range(len(machines))
        self._by_load = sorted((bool(machines[n].gpus), self._load[n], n) for n in numbers)
        self._by_size = sorted((len(machines[n].gpus), 0, n) for n in numbers)
        self._by_gpus = sorted((len(self._gpus[n]), self._load[n], n) for n in numbers)

    def numbers(self, names: Iterable[str]) -> frozenset[int]:
        """Give the numbers of nodes by name, of all where there are no names."""
        wanted = frozenset(names)
        return frozenset(
            number for name, number in self._numbers.items() if not wanted or name in wanted
        )

    def free(self, number: int) -> Room:
        return self._cpus[number], self._memory[number], len(self._gpus[number])

    def is_possible(self, run: Waiting, on: frozenset[int]) -> bool:
        """Say whether a run could start if these nodes were empty."""
        return self._find(run, on, self._whole) is not None

    def fits(self, run: Waiting, on: frozenset[int]) -> bool:
        """Say whether there is room for a run now, kept for others or not."""
        return self._find(run, on, self.free, is_now=True) is not None

    def fits_soon(self, run: Waiting, on: frozenset[int]) -> bool:
        """Say whether there is room for a run once those that are ending have left."""
        return bool(self.fits_in(run, on, {}))

    def freed_by(self, leaving: Iterable[Holding]) -> dict[int, Room]:
        """Give the room on nodes once these and those that are ending have left."""
        freed: dict[int, Room] = {}
        for holding in leaving:
            for part in holding.parts:
                number = self._numbers.get(part.node)
                if number is not None:
                    freed[number] = _more(freed.get(number) or self._soon[number], part.share)
        return freed

    def fits_in(self, run: Waiting, on: frozenset[int], freed: dict[int, Room]) -> frozenset[str]:
        """Give the nodes for a run beside what was freed, or none."""
        found = self._find(
            run, on, lambda at: None if self._closed[at] else freed.get(at) or self._soon[at]
        )
        return frozenset(self.machines[number].name for number in found or ())

    def start(self, run: Waiting, on: frozenset[int]) -> tuple[Place, ...] | None:
        """Give a run its nodes and GPUs for as long as it needs them, if that delays nobody."""
        end = inf if run.seconds is None else self.now + run.seconds
        found = self._find(run, on, self._until(end), is_now=True)
        if found is None:
            return None
        # One that passed nobody is as those that hold their nodes already: it will have ended.
        stays_until = min(end, inf if self._is_kept else FAR)
        self._first_end = min(self._first_end, stays_until)
        return tuple(
            self._take(number, share, stays_until)
            for number, share in zip(found, run.processes, strict=True)
        )

    def keep(self, run: Waiting, on: frozenset[int]) -> float | None:
        """Keep nodes for a run from the earliest time on; give it, or None where there is none."""
        self._is_kept = True
        self._count_as_staying(run)
        if self._find(run, on, self._at_last) is None:
            return None
        known = {t.end for n in on for t in self._tenants[n] if t.end < FAR}
        ends = sorted(known | {self.now})
        first = bisect_left(ends, True, key=lambda end: self._has_room(run, on, end))
        start = ends[first] if first < len(ends) else FAR
        found = self._find(run, on, self._at(start))
        assert found is not None  # noqa: S101 - the search above saw it
        for number, share in zip(found, run.processes, strict=True):
            self._kept[number] = _more(self._kept[number], share)
            self._soon[number] = _less(self._soon[number], share)
            self._far[number] = _less(self._far[number], share)
        for number in set(found):
            self._kept_from[number] = min(self._kept_from[number], start)
            self._leave_by[number] = min(self._leave_by[number], self._known(start))
            self._note_later(number)
        return start if start < FAR else inf

    def close(self, run: Waiting, on: frozenset[int]) -> None:
        """Let nobody past a run, on all nodes that it could use, but who leaves before any does."""
        self._is_kept = True
        for number in on:
            whole = self._whole(number)
            if not self._closed[number] and any(_fits(share, whole) for share, _ in run.batches):
                self._closed[number] = True
                by = self._known(self._first_end)
                self._leave_by[number] = min(self._leave_by[number], by)

    def let_go(self, holding: Holding) -> None:
        """Count on it that a holding ends now."""
        for tenant in self._of.get(id(holding), ()):
            tenant.end = self.now
        for part in holding.parts:
            number = self._numbers.get(part.node)
            if number is not None:
                self._soon[number] = _more(self._soon[number], part.share)
                self._note_later(number)

    def _count_as_staying(self, run: Waiting) -> None:
        """Count those of unknown end that were let past a run as staying beside it."""
        passed = [one for one in self._endless if _was_let_past(one, run)]
        for holding in passed:
            self._endless.remove(holding)
            for tenant in self._of[id(holding)]:
                tenant.end = inf
            for part in holding.parts:
                number = self._numbers[part.node]
                self._far[number] = _less(self._far[number], part.share)
                self._note_later(number)

    def _known(self, time: float) -> float:
        return time if time < FAR else self.now

    def _has_room(self, run: Waiting, on: frozenset[int], start: float) -> bool:
        return self._find(run, on, self._at(start)) is not None

    def _whole(self, number: int) -> Room:
        machine = self.machines[number]
        return machine.cpus, machine.memory_bytes, len(machine.gpus)

    def _until(self, end: float) -> RoomOf:
        """Give the room that a run which leaves at `end` may use now."""
        leave_by, closed, later = self._leave_by, self._closed, self._later

        def room(number: int) -> Room | None:
            cpus, memory, gpus = self._cpus[number], self._memory[number], len(self._gpus[number])
            if end <= leave_by[number]:
                return cpus, memory, gpus
            if closed[number]:
                return None
            most = later[number]
            return min(cpus, most[0]), min(memory, most[1]), min(gpus, most[2])

        return room

    def _at(self, time: float) -> RoomOf:
        """Give the room at a time, beside all that is kept; none on nodes that are closed."""

        def room(number: int) -> Room | None:
            if self._closed[number]:
                return None
            cpus, memory, gpus = self._whole(number)
            kept = self._kept[number]
            cpus, memory, gpus = cpus - kept[0], memory - kept[1], gpus - kept[2]
            for tenant in self._tenants[number]:
                if tenant.end > time:
                    cpus -= tenant.cpus
                    memory -= tenant.memory_bytes
                    gpus -= tenant.gpus
            return cpus, memory, gpus

        return room

    def _at_last(self, number: int) -> Room | None:
        return None if self._closed[number] else self._far[number]

    def _note_later(self, number: int) -> None:
        self._later[number] = self._at(self._kept_from[number])(number) or NONE

    def _move_in(self, holding: Holding) -> None:
        end = FAR if holding.ends_at is None else max(holding.ends_at, self.now)
        end = self.now if holding.is_ending else end
        if end == FAR and all(part.node in self._numbers for part in holding.parts):
            self._endless.append(holding)
        self._first_end = min(self._first_end, end)
        for part in holding.parts:
            number = self._numbers.get(part.node)
            if number is not None:
                tenant = self._settle(number, part.share, end)
                self._of.setdefault(id(holding), []).append(tenant)
                self._gpus[number] = [gpu for gpu in self._gpus[number] if gpu not in part.gpus]

    def _settle(self, number: int, share: Share, end: float) -> Tenant:
        tenant = Tenant(end, share.cpus, share.memory_bytes, share.gpus)
        self._tenants[number].append(tenant)
        self._cpus[number] -= share.cpus
        self._memory[number] -= share.memory_bytes
        self._load[number] += 1
        if end > self.now:
            self._soon[number] = _less(self._soon[number], share)
        if end > FAR:
            self._far[number] = _less(self._far[number], share)
        return tenant

    def _take(self, number: int, share: Share, end: float) -> Place:
        count = int(share.gpus)
        machine = self.machines[number]
        before = self._load[number], number
        del self._by_load[bisect_left(self._by_load, (bool(machine.gpus), *before))]
        del self._by_gpus[bisect_left(self._by_gpus, (len(self._gpus[number]), *before))]
        self._settle(number, share, end)
        given = tuple(self._gpus[number][:count])
        del self._gpus[number][:count]
        insort(self._by_load, (bool(machine.gpus), self._load[number], number))
        insort(self._by_gpus, (len(self._gpus[number]), self._load[number], number))
        if end > self._kept_from[number]:  # it stays beside those that the node is kept for
            cpus, memory, gpus = self._later[number]
            self._later[number] = (cpus - share.cpus, memory - share.memory_bytes, gpus - count)
        return Place(machine.name, given)

    def _order(self, share: Share, is_now: bool) -> Iterator[int]:
        """Give nodes by preference: for GPUs the fullest that may do, else the least loaded.

        So GPUs that are free together stay together, and nodes without any get other work first.
        """
        if not share.gpus:
            return map(NUMBER, self._by_load)
        nodes = self._by_gpus if is_now else self._by_size
        first = bisect_left(nodes, (int(share.gpus), -1, -1))
        return map(NUMBER, islice(nodes, first, None))

    def _find(
        self, run: Waiting, on: frozenset[int], room_of: RoomOf, *, is_now: bool = False
    ) -> list[int] | None:
        """Give a node for each process of a run, spread as widely as there are nodes, or None."""
        chosen = [0] * len(run.processes)
        rest: dict[int, Room] = {}
        guests: dict[int, int] = {}
        for share, members in run.batches:
            missing = iter(members)
            left = len(members)
            again: list[tuple[int, int, int]] = []
            gpus, cpus, memory = share.gpus, share.cpus - ROUNDING, share.memory_bytes
            for rank, number in enumerate(self._order(share, is_now)):
                if number not in on:
                    continue
                room = rest[number] if number in rest else room_of(number)
                if room is None or (
                    (room[2] < gpus and gpus)
                    or (room[0] < cpus and cpus > 0)
                    or (room[1] < memory and memory)
                ):
                    continue
                if number not in guests:
                    chosen[next(missing)] = number
                    left -= 1
                    rest[number] = room = _less(room, share)
                    guests[number] = 1
                again.append((guests[number], rank, number))
                if not left:
                    break
            if left:
                heapify(again)
            while left and again:
                _, rank, number = heappop(again)
                if not _fits(share, rest[number]):
                    continue
                chosen[next(missing)] = number
                left -= 1
                rest[number] = _less(rest[number], share)
                guests[number] += 1
                heappush(again, (guests[number], rank, number))
            if left:
                return None
        return chosen


def _was_let_past(holding: Holding, run: Waiting) -> bool:
    return holding.since > run.since and (-holding.priority, holding.rank) > (
        -run.priority,
        run.rank,
    )


def _fits(share: Share, room: Room) -> bool:
    return (
        (not share.gpus or share.gpus <= room[2])
        and (not share.cpus or share.cpus <= room[0] + ROUNDING)
        and (not share.memory_bytes or share.memory_bytes <= room[1])
    )


def _less(room: Room, share: Share) -> Room:
    return room[0] - share.cpus, room[1] - share.memory_bytes, room[2] - share.gpus


def _more(room: Room, share: Share) -> Room:
    return room[0] + share.cpus, room[1] + share.memory_bytes, room[2] + share.gpus
