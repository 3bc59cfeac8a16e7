"""How long the queue takes to decide: 10,000 waiting runs over 500 nodes, most of them in use."""

import random
import statistics
from collections.abc import Iterator

from bench.bench import Bench
from bench.measure import Line, seconds
from runs.queue import decide
from runs.queue_terms import Holding, Limits, Machine, Part, Quota, Share, TargetTerms, Waiting

TIMES = 5
NODES, RUNS = 500, 10_000
TARGETS, TEAMS = 3, 5
GOAL_SECONDS = 1.0
GB = 10**9
NOW = 1_800_000_000.0


def measure(bench: Bench) -> Iterator[Line]:
    chance = random.Random(1)  # noqa: S311 - the same queue each time
    machines = [
        Machine(f"node-{number}", 64, 256 * GB, _uuids(number, 8 if number % 2 else 0))
        for number in range(NODES)
    ]
    held = [one for machine in machines for one in _on(machine, chance)]
    waiting = [_waiting(number, chance) for number in range(1, RUNS + 1)]
    targets = {number: TargetTerms(f"target-{number}") for number in range(TARGETS)}
    quotas = {(target, 0): Quota("team", max_gpus=300) for target in targets}
    limits = Limits(targets, quotas)
    ours = statistics.median(
        seconds(lambda: decide(waiting, held, machines, limits, NOW)) for _ in range(TIMES)
    )
    yield Line(f"the queue decides {RUNS:,} runs over {NODES} nodes", ours, "s", GOAL_SECONDS)


def _uuids(node: int, count: int) -> tuple[str, ...]:
    return tuple(f"GPU-{node}-{index}" for index in range(count))


def _on(machine: Machine, chance: random.Random) -> Iterator[Holding]:
    """Fill a node with runs, a tenth of them of low priority, half with a known end."""
    cpus, gpus = machine.cpus, machine.gpus
    while cpus > 8:
        count = min(len(gpus), chance.choice([0, 1, 2, 4]))
        share = Share(chance.randint(1, 16), chance.randint(1, 48) * GB, count, 1)
        given, gpus = gpus[:count], gpus[count:]
        cpus -= share.cpus
        is_low = chance.random() < 0.1
        yield Holding(
            title="run 1 of ana",
            target_id=chance.randrange(TARGETS),
            team_id=chance.randrange(TEAMS),
            parts=(Part(machine.name, share, given),),
            run_id=-chance.getrandbits(48),
            priority=-1 if is_low else 0,
            since=NOW - chance.randint(1, 99_999),
            ends_at=NOW + chance.randint(1, 99_999) if chance.random() < 0.5 else None,
            may_be_preempted=is_low,
        )


def _waiting(number: int, chance: random.Random) -> Waiting:
    share = Share(
        chance.randint(1, 32), chance.randint(1, 99) * GB, chance.choice([0, 0, 1, 2, 4, 8]), 1
    )
    return Waiting(
        run_id=number,
        title=f"run {number} of ana",
        target_id=chance.randrange(TARGETS),
        team_id=chance.randrange(TEAMS),
        priority=chance.choice([-1, 0, 0, 0, 5]),
        rank=number,
        processes=(share,) * chance.choice([1, 1, 2, 4, 8]),
        since=NOW,
        seconds=chance.choice([None, None, 3600, 60]),
    )
