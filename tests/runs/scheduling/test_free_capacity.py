"""What is free of targets: of their nodes, which others may share, and of their limits."""

import pytest
from django.contrib.auth.models import User

from runs.scheduling.free_capacity import free_capacities
from runs.scheduling.resources import Resources
from runs.states import RunStatus
from tests.factories import make_group, make_run, make_target
from workspace.compute.base import Gpu, Node
from workspace.models import ComputeTarget, Team
from workspace.targets.states import TargetStatus

GB = 10**9
NODE = Node(
    name="n1",
    cpus=8,
    memory_bytes=32 * GB,
    gpus=(Gpu(0, "g0", "H200", GB), Gpu(1, "g1", "H200", GB)),
)


def hold(team: Team, by: User, target: ComputeTarget, cpus: float, gpus: list[str]) -> None:
    """Have a process hold some of a target."""
    run = make_run(team, by, RunStatus.RUNNING, target=target)
    make_group(run).processes.update(cpus=cpus, memory_bytes=GB, gpus=gpus)


def free_of(*targets: ComputeTarget) -> list[Resources]:
    statuses = [TargetStatus(target, (NODE,)) for target in targets]
    return [capacity.free for capacity in free_capacities(statuses)]


@pytest.fixture
def engine(team: Team) -> ComputeTarget:
    return make_target(team, "engine", kind="docker", pool="machines")


def test_what_processes_hold_is_not_free(team: Team, bob: User, engine: ComputeTarget) -> None:
    assert free_of(engine) == [Resources(8, 32 * GB, 2)]
    hold(team, bob, engine, 3, ["g0"])
    assert free_of(engine) == [Resources(5, 31 * GB, 1)]


def test_targets_that_share_nodes_share_what_is_free(
    team: Team, bob: User, engine: ComputeTarget
) -> None:
    same = make_target(team, "same", kind="docker", pool="machines")
    other = make_target(team, "other", kind="docker", pool="others")
    hold(team, bob, engine, 3, ["g0"])
    assert [free.cpus for free in free_of(engine, same, other)] == [5, 5, 8]
    assert [free.cpus for free in free_of(same)] == [5]


def test_limits_of_a_target_and_what_stays_idle_are_not_free(
    team: Team, bob: User, engine: ComputeTarget
) -> None:
    engine.max_gpus, engine.idle_cpus, engine.max_memory_bytes = 1, 2.0, 10 * GB
    hold(team, bob, engine, 3, ["g0"])
    assert free_of(engine) == [Resources(3, 9 * GB, 0)]


def test_a_node_that_is_down_gives_nothing(engine: ComputeTarget) -> None:
    down = Node(name="n1", cpus=8, memory_bytes=32 * GB, healthy=False)
    (capacity,) = free_capacities([TargetStatus(engine, (down,))])
    assert capacity.whole == capacity.free == Resources()
