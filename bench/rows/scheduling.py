"""How long the scheduler takes: 10,000 waiting runs over 500 nodes, most of them in use."""

import random
import statistics
from collections.abc import Iterator

from bench.bench import Bench
from bench.measure import Line, seconds
from runs.scheduling.queue import decide
from runs.scheduling.requests import (
    Allocation,
    PendingRun,
    ProcessAllocation,
    SchedulableNode,
    SchedulingLimits,
    TargetLimits,
    TeamQuota,
)
from runs.scheduling.resources import Resources

TIMES = 5
NODES, RUNS = 500, 10_000
TARGETS, TEAMS = 3, 5
GOAL_SECONDS = 1.0
GB = 10**9
NOW = 1_800_000_000.0


def measure(bench: Bench) -> Iterator[Line]:
    chance = random.Random(1)  # noqa: S311 - the same queue each time
    nodes = [
        SchedulableNode(f"node-{number}", 64, 256 * GB, _uuids(number, 8 if number % 2 else 0))
        for number in range(NODES)
    ]
    allocations = [one for node in nodes for one in _on(node, chance)]
    pending = [_pending(number, chance) for number in range(1, RUNS + 1)]
    targets = {number: TargetLimits(f"target-{number}") for number in range(TARGETS)}
    quotas = {(target, 0): TeamQuota("team", max_gpus=300) for target in targets}
    limits = SchedulingLimits(targets, quotas)
    ours = statistics.median(
        seconds(lambda: decide(pending, allocations, nodes, limits, NOW)) for _ in range(TIMES)
    )
    yield Line(f"the queue decides {RUNS:,} runs over {NODES} nodes", ours, "s", GOAL_SECONDS)


def _uuids(node: int, count: int) -> tuple[str, ...]:
    return tuple(f"GPU-{node}-{index}" for index in range(count))


def _on(node: SchedulableNode, chance: random.Random) -> Iterator[Allocation]:
    """Fill a node with runs, a tenth of them of low priority, half with a known end."""
    cpus, gpus = node.cpus, node.gpus
    while cpus > 8:
        count = min(len(gpus), chance.choice([0, 1, 2, 4]))
        resources = Resources(chance.randint(1, 16), chance.randint(1, 48) * GB, count, 1)
        given, gpus = gpus[:count], gpus[count:]
        cpus -= resources.cpus
        is_low = chance.random() < 0.1
        yield Allocation(
            title="run 1 of ana",
            target_id=chance.randrange(TARGETS),
            team_id=chance.randrange(TEAMS),
            parts=(ProcessAllocation(node.name, resources, given),),
            run_id=-chance.getrandbits(48),
            priority=-1 if is_low else 0,
            since=NOW - chance.randint(1, 99_999),
            ends_at=NOW + chance.randint(1, 99_999) if chance.random() < 0.5 else None,
            may_be_preempted=is_low,
        )


def _pending(number: int, chance: random.Random) -> PendingRun:
    resources = Resources(
        chance.randint(1, 32), chance.randint(1, 99) * GB, chance.choice([0, 0, 1, 2, 4, 8]), 1
    )
    return PendingRun(
        run_id=number,
        title=f"run {number} of ana",
        target_id=chance.randrange(TARGETS),
        team_id=chance.randrange(TEAMS),
        priority=chance.choice([-1, 0, 0, 0, 5]),
        rank=number,
        processes=(resources,) * chance.choice([1, 1, 2, 4, 8]),
        since=NOW,
        seconds=chance.choice([None, None, 3600, 60]),
    )
