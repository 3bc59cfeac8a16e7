"""Invariants of the scheduler: simulated days of arrivals, starts and ends."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.scheduling.queue import decide
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    Placement,
    ProcessAllocation,
    SchedulableNode,
    SchedulingDecision,
    SchedulingLimits,
    TargetLimits,
)
from runs.scheduling.resources import ROUNDING, Resources
from tests.property_tests import EXAMPLES
from tests.runs.scheduling.queue_builders import node, waiting

pytestmark = pytest.mark.slow

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LIMITS = SchedulingLimits({1: TargetLimits("gpu")})


@dataclass
class Day:
    """Runs arrive, start as the scheduler decides, and end; every decision is checked and kept."""

    nodes: list[SchedulableNode]
    arrivals: list[tuple[float, PendingRun, float]]
    now: float = 0.0
    queue: list[PendingRun] = field(default_factory=list)
    running: dict[int, tuple[Allocation, float]] = field(default_factory=dict)
    started_at: dict[int, float] = field(default_factory=dict)
    ended_at: dict[int, float] = field(default_factory=dict)
    latest_starts: dict[int, float] = field(default_factory=dict)

    def pass_by(self) -> None:
        coming = sorted(self.arrivals, key=lambda arrival: (arrival[0], arrival[1].run_id))
        lasts = {run.run_id: lasts for _, run, lasts in coming}
        while coming or self.running:
            self.now = min(
                [at for at, _, _ in coming[:1]] + [end for _, end in self.running.values()]
            )
            for number in [n for n, (_, end) in self.running.items() if end <= self.now]:
                del self.running[number]
                self.ended_at[number] = self.now
            while coming and coming[0][0] <= self.now:
                self.queue.append(coming.pop(0)[1])
            decision = self.decide()
            check(decision, self.queue, [one for one, _ in self.running.values()], self.nodes)
            for number, time in decision.latest_starts.items():
                self.latest_starts.setdefault(number, time)
            for run in [run for run in self.queue if run.run_id in decision.start]:
                self.queue.remove(run)
                self.started_at[run.run_id] = self.now
                self.running[run.run_id] = (
                    allocation_of(run, decision.start[run.run_id], self.now),
                    self.now + lasts[run.run_id],
                )

    def decide(self) -> SchedulingDecision:
        allocations = [one for one, _ in self.running.values()]
        return decide(self.queue, allocations, self.nodes, LIMITS, self.now)


def allocation_of(run: PendingRun, places: tuple[Placement, ...], now: float) -> Allocation:
    return Allocation(
        title=run.title,
        target_id=run.target_id,
        team_id=run.team_id,
        parts=tuple(ProcessAllocation(place.node, held_at(place), place.gpus) for place in places),
        run_id=run.run_id,
        priority=run.priority,
        rank=run.rank,
        since=now,
        ends_at=None if run.seconds is None else now + run.seconds,
        may_be_preempted=True,
        is_ending=False,
    )


def held_at(place: Placement) -> Resources:
    return Resources(place.cpus, place.memory_bytes, len(place.gpus), 1)


def check(
    decision: SchedulingDecision,
    queue: list[PendingRun],
    allocations: list[Allocation],
    nodes: list[SchedulableNode],
) -> None:
    """Check that nothing is allocated twice, no gang starts in part, and others have a reason."""
    assert decision.start.keys() | decision.wait_reasons.keys() == {run.run_id for run in queue}
    assert not decision.start.keys() & decision.wait_reasons.keys()
    assert all(decision.wait_reasons.values())
    parts = [part for one in allocations for part in one.parts]
    for run in queue:
        places = decision.start.get(run.run_id)
        if places is not None:
            assert len(places) == len(run.processes)
            for place, share in zip(places, run.processes, strict=True):
                assert len(place.gpus) == share.gpus
                assert share.fits(held_at(place))
                parts.append(ProcessAllocation(place.node, held_at(place), place.gpus))
    for one in nodes:
        here = [part for part in parts if part.node == one.name]
        assert sum(part.resources.cpus for part in here) <= one.cpus + ROUNDING
        assert sum(part.resources.memory_bytes for part in here) <= one.memory_bytes
        gpus = [gpu for part in here for gpu in part.gpus]
        assert len(gpus) == len(set(gpus))
        assert set(gpus) <= set(one.gpus)


needs_of_process = st.builds(
    Resources,
    cpus=st.integers(0, 4).map(float),
    memory_bytes=st.integers(0, 8).map(lambda gb: gb * 10**9),
    gpus=st.integers(0, 2),
    processes=st.just(1),
)
gangs = st.one_of(
    st.tuples(needs_of_process, st.integers(1, 4)).map(lambda gang: (gang[0],) * gang[1]),
    st.lists(needs_of_process, min_size=1, max_size=4).map(tuple),
)
assumed_needs = st.builds(
    Resources, cpus=st.sampled_from([0.0, 1.0]), memory_bytes=st.sampled_from([0, 10**9])
)
even_gangs = st.tuples(needs_of_process, st.integers(1, 4)).map(lambda gang: (gang[0],) * gang[1])
node_lists = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(0, 3)), min_size=1, max_size=3
).map(
    lambda sizes: [
        node("abc"[at], cpus=cpus, gb=gb, gpus=gpus) for at, (cpus, gb, gpus) in enumerate(sizes)
    ]
)


@st.composite
def days(draw: st.DrawFn, needs: st.SearchStrategy[tuple[Resources, ...]], limited: bool) -> Day:
    """Draw a day on which every run fits the idle nodes and all have one priority."""
    nodes = draw(node_lists)
    arrivals = []
    at = 0.0
    for number in range(1, draw(st.integers(1, 9)) + 1):
        at += draw(st.sampled_from([0, 0, 1, 3]))
        most = draw(st.sampled_from([2, 4, 8, None])) if limited else None
        lasts = draw(st.integers(1, most or 9))
        processes = draw(needs)
        run = waiting(
            number,
            processes=processes,
            since=at,
            seconds=None if most is None else float(most),
            assumed=draw(st.one_of(st.just(()), st.tuples(*[assumed_needs] * len(processes)))),
        )
        alone = decide([run], [], nodes, LIMITS, 0.0)
        if run.run_id in alone.start:
            arrivals.append((at, run, float(lasts)))
    return Day(nodes, arrivals)


@given(days(gangs, limited=True))
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_nothing_is_given_twice_no_gang_starts_in_part_and_all_have_run_in_the_end(day: Day):
    day.pass_by()
    assert day.ended_at.keys() == {run.run_id for _, run, _ in day.arrivals}


@given(days(even_gangs, limited=True))
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_no_run_starts_later_than_it_was_promised(day: Day):
    day.pass_by()
    for number, time in day.latest_starts.items():
        assert day.started_at[number] <= time


@given(days(even_gangs, limited=False))
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_no_run_waits_for_one_that_came_later(day: Day):
    day.pass_by()
    for at, run, _ in day.arrivals:
        earlier = [
            day.ended_at[other.run_id] for _, other, _ in day.arrivals if other.run_id < run.run_id
        ]
        assert day.started_at[run.run_id] <= max([at, *earlier])


@given(days(gangs, limited=False))
@settings(SETTINGS, max_examples=2 * EXAMPLES)
def test_the_first_that_fits_is_never_passed_over(day: Day):
    queue = [run for _, run, _ in day.arrivals]
    decision = decide(queue, [], day.nodes, LIMITS, 0.0)
    if queue:
        assert min(run.run_id for run in queue) in decision.start


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[SchedulableNode], list[Allocation], PendingRun]:
    """Draw nodes with runs of low and other priority on them, and a run that waits."""
    nodes = draw(node_lists)
    allocations: list[Allocation] = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        run = waiting(number, processes=draw(gangs), priority=draw(st.sampled_from([-5, -1, 0, 3])))
        start = decide([run], allocations, nodes, LIMITS, 0.0).start
        if number in start:
            allocations.append(allocation_of(run, start[number], float(number)))
    return nodes, allocations, waiting(99, processes=draw(gangs), priority=draw(st.integers(-2, 2)))


@given(crowds())
@settings(SETTINGS, max_examples=4 * EXAMPLES)
def test_only_lower_priority_is_preempted_only_if_it_helps_and_no_more_than_needed(
    crowd: tuple[list[SchedulableNode], list[Allocation], PendingRun],
):
    nodes, allocations, run = crowd

    def starts_without(gone: set[int | None]) -> bool:
        left = [one for one in allocations if one.run_id not in gone]
        return run.run_id in decide([run], left, nodes, LIMITS, 100.0).start

    decision = decide([run], allocations, nodes, LIMITS, 100.0)
    chosen = [one for one in allocations if one.run_id in decision.preempt]
    low = [one for one in allocations if one.priority < 0]
    assert all(one.priority < 0 for one in chosen)
    if chosen:
        assert run.priority >= 0
        assert not starts_without(set())
        assert starts_without({one.run_id for one in chosen})
        for one in chosen:
            assert not starts_without({other.run_id for other in chosen if other is not one})
    elif run.priority >= 0 and not starts_without(set()):
        assert not starts_without({one.run_id for one in low})


@given(crowds())
@settings(SETTINGS, max_examples=2 * EXAMPLES)
def test_once_runs_are_preempted_the_run_starts_and_no_other_is_preempted_for_it(
    crowd: tuple[list[SchedulableNode], list[Allocation], PendingRun],
):
    nodes, allocations, run = crowd
    chosen = decide([run], allocations, nodes, LIMITS, 100.0).preempt
    if not chosen:
        return
    ending = [replace(one, is_ending=one.run_id in chosen) for one in allocations]
    later = [run, waiting(100, processes=(Resources(cpus=1, processes=1),), rank=100.0)]
    meanwhile = decide(later, ending, nodes, LIMITS, 101.0)
    assert run.run_id not in meanwhile.preempt.values()
    left = [one for one in allocations if one.run_id not in chosen]
    assert run.run_id in decide(later, left, nodes, LIMITS, 102.0).start


@pytest.mark.parametrize("count", [3, 12])
def test_a_large_run_starts_although_small_ones_never_stop_coming(count: int):
    """Two small runs fill the machine, the large one waits, and small ones keep coming."""
    small = [
        (float(at), waiting(at + 10, cpus=1, since=float(at)), 2.5) for at in range(count * 10)
    ]
    large = (1.5, waiting(11, cpus=4, rank=11.5, since=1.5), 1.0)
    arrivals = [(at, run, lasts) for at, run, lasts in small if run.run_id != 11]
    day = Day([node(cpus=4)], [*arrivals, large])
    day.pass_by()
    assert day.started_at[11] <= 4.5
