"""Which runs are admitted, on what is really free: nodes, GPUs, quotas and preemption."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from runs.ingest import process_reports
from runs.launch.plan import plan_of
from runs.models import Process, ProcessGroup, Run
from runs.scheduling.capacity import place_for_service
from runs.scheduling.resources import Resources
from runs.states import RequeueReason, RunStatus
from tests.factories import make_target, make_team, make_user
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import (
    TWO_WORKERS,
    Submit,
    bring_up,
    build_environments,
    end,
    leave,
    processes,
    tick,
)
from workspace.compute.base import BackendError, Gpu, Node, TargetUnreachable
from workspace.models import ComputeTarget, TargetGrant, Team
from workspace.platform.errors import Invalid

pytestmark = pytest.mark.django_db

GB = 10**9
ONE_GPU = {"use_gpu": True, "gpus_per_process": 1}


def node(name: str, cpus: float = 4, gpus: int = 0, *, healthy: bool = True) -> Node:
    found = tuple(
        Gpu(index, f"GPU-{name}-{index}", "H100", 80 * GB) for index in reversed(range(gpus))
    )
    return Node(name, cpus, 8 * GB, found, healthy)


@pytest.fixture
def swarm(team: Team, backend: FakeBackend) -> ComputeTarget:
    """Return a swarm of two nodes with two GPUs each."""
    backend.nodes = [node("a", gpus=2), node("b", gpus=2)]
    return make_target(team, "swarm", kind="swarm", pool="cluster")


def refused(submit: Submit, **config: object) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refusal:
        submit(**config)
    return [(error.field, error.message) for error in refusal.value.errors]


def told(run: Run) -> str:
    run.refresh_from_db()
    return run.wait_reason


def test_processes_get_the_nodes_and_gpus_that_the_queue_chose(
    submit: Submit, swarm: ComputeTarget
):
    run = bring_up(submit(compute_target="swarm", distributed_training=TWO_WORKERS, **ONE_GPU))
    assert [(process.node, process.gpus) for process in processes(run)] == [
        ("a", ["GPU-a-0"]),
        ("b", ["GPU-b-0"]),
    ]
    plan = plan_of(ProcessGroup.objects.get())
    assert [(process.node, process.gpus) for process in plan.processes] == [
        ("a", ("GPU-a-0",)),
        ("b", ("GPU-b-0",)),
    ]


def test_the_name_that_a_container_gives_its_host_does_not_replace_the_node(
    submit: Submit, swarm: ComputeTarget
):
    run = submit(compute_target="swarm")
    tick(run)
    build_environments()
    tick(run)
    (process,) = processes(run)
    process_reports.process_ready(process, node="4f1c0ffee")
    process.refresh_from_db()
    assert process.node in {"a", "b"}


def test_no_gpu_is_given_twice_not_even_while_environments_are_built(
    submit: Submit, swarm: ComputeTarget
):
    runs = [submit(compute_target="swarm", **ONE_GPU) for _ in range(5)]
    tick(runs[0])
    build_environments()
    tick(runs[0])
    given = [gpu for process in Process.objects.all() for gpu in process.gpus]
    assert sorted(given) == ["GPU-a-0", "GPU-a-1", "GPU-b-0", "GPU-b-1"]
    assert told(runs[4]) == (
        "Needs 1 GPU, 1 CPU and 1 GB memory (CPUs and memory not stated, so assumed); 0 of 4 GPUs"
        " are free; run 1 of bob holds 1; run 2 of bob holds 1."
    )


def test_what_is_held_through_one_target_of_an_engine_is_held_for_all(
    submit: Submit, team: Team, backend: FakeBackend
):
    for name in ("one", "two"):
        make_target(team, name, kind="docker", pool="engine")
    bring_up(submit(compute_target="one", cpus_per_process=3))
    second = tick(submit(compute_target="two", cpus_per_process=3))
    assert second.status == RunStatus.QUEUED
    assert second.wait_reason == (
        "Needs 3 CPUs and 1 GB memory (memory not stated, so assumed); 1 of 4 CPUs is free;"
        " run 1 of bob holds 3."
    )


def test_the_engine_of_this_machine_shares_it_with_the_local_target(
    submit: Submit, team: Team, backend: FakeBackend
):
    make_target(team, "engine", kind="docker", pool="local")
    bring_up(submit(cpus_per_process=3))
    assert tick(submit(compute_target="engine", cpus_per_process=3)).status == RunStatus.QUEUED
    assert tick(submit(compute_target="engine", cpus_per_process=1)).status == RunStatus.PREPARING


def test_targets_of_other_machines_share_nothing(submit: Submit, team: Team, backend: FakeBackend):
    make_target(team, "engine", kind="docker", pool="engine")
    bring_up(submit(cpus_per_process=3))
    assert tick(submit(compute_target="engine", cpus_per_process=3)).status == RunStatus.PREPARING


def test_a_run_of_low_priority_is_preempted_and_starts_again_later(
    submit: Submit, backend: FakeBackend
):
    low = bring_up(submit(cpus_per_process=4, priority=-1))
    high = tick(submit(cpus_per_process=2))
    low.refresh_from_db()
    assert low.requeue_reason == RequeueReason.PREEMPTED
    asked = low.events.get(type="run.requeue_requested")
    assert asked.data["message"] == "Its resources go to run 2 of bob."
    assert "run 1 of bob" in told(high)
    tick(low)
    end(processes(low)[0], 143, "was stopped (SIGTERM)")
    leave(low, backend)
    bring_up(high)
    low.refresh_from_db()
    assert (low.status, high.status) == (RunStatus.QUEUED, RunStatus.RUNNING)
    assert told(low) == (
        "Needs 4 CPUs and 1 GB memory (memory not stated, so assumed); 2 of 4 CPUs are free;"
        " run 2 of bob holds 2."
    )
    end(processes(high)[0])
    leave(high, backend)
    tick(high)
    assert bring_up(low).status == RunStatus.RUNNING
    assert low.attempts.count() == 2


def test_a_run_says_until_when_others_hold_what_it_needs(submit: Submit):
    running = bring_up(submit(cpus_per_process=3, max_run_duration_seconds=3600, grace_seconds=0))
    ends = timezone.now() + timedelta(days=1)
    Run.objects.filter(pk=running.pk).update(running_at=ends - timedelta(hours=1))
    because = tick(submit(cpus_per_process=3)).wait_reason
    assert f"run 1 of bob holds 3 until about {ends:%Y-%m-%d %H:%M} UTC" in because


def test_a_team_keeps_to_its_quota(
    submit: Submit, team: Team, swarm: ComputeTarget, backend: FakeBackend
):
    TargetGrant.objects.create(target=swarm, team=team, max_runs=1)
    bring_up(submit(compute_target="swarm"))
    assert tick(submit(compute_target="swarm")).wait_reason == (
        "Needs 1 CPU and 1 GB memory (CPUs and memory not stated, so assumed);"
        f" team {team.name} is limited to 1 concurrent run on swarm and has 1 run and 0 GPUs."
    )


def test_gpu_hours_of_this_month_are_counted(submit: Submit, team: Team, swarm: ComputeTarget):
    grant = TargetGrant.objects.create(target=swarm, team=team, gpu_hours_a_month=2)
    first = bring_up(submit(compute_target="swarm", **ONE_GPU))
    second = submit(compute_target="swarm", use_gpu=True, gpus_per_process=2)
    assert tick(second).status != RunStatus.QUEUED
    now = timezone.now()
    began = max(now - timedelta(hours=3), now.replace(day=1, hour=0, minute=0, second=0))
    Process.objects.filter(group__run=first).update(started_at=began)
    hours = (now - began) / timedelta(hours=1)
    TargetGrant.objects.filter(pk=grant.pk).update(gpu_hours_a_month=hours / 2)
    third = submit(compute_target="swarm", **ONE_GPU)
    assert f"has used {hours:.1f} of its {hours / 2:g} GPU-hours" in tick(third).wait_reason


def test_a_draining_target_starts_nothing_more(submit: Submit, team: Team):
    run = submit()
    team.targets.update(is_draining=True)
    assert tick(run).wait_reason == "Target local is draining: no new runs start on it."


def test_runs_on_a_silent_target_wait_and_others_start(
    submit: Submit, team: Team, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
):
    silent = FakeBackend()
    silent.silence = TargetUnreachable("Nothing listens there.")
    make_target(team, "engine", kind="docker", pool="engine")
    runs = [submit(compute_target="engine"), submit()]
    for module in ("workspace.targets.states", "workspace.targets.reachability"):
        monkeypatch.setattr(
            f"{module}.backend_for",
            lambda target: silent if target.name == "engine" else backend,
        )
    tick(runs[0])
    assert told(runs[0]) == "Target engine is unreachable: Nothing listens there."
    runs[1].refresh_from_db()
    assert runs[1].status == RunStatus.PREPARING


def test_a_node_that_is_down_is_given_to_nobody(
    submit: Submit, swarm: ComputeTarget, backend: FakeBackend
):
    backend.nodes = [node("a", gpus=2, healthy=False), node("b", gpus=2)]
    run = tick(submit(compute_target="swarm", distributed_training=TWO_WORKERS, **ONE_GPU))
    assert {place["node"] for place in run.placement} == {"b"}


def test_a_gang_waits_for_a_node_that_is_down_and_holds_nobody_up(
    submit: Submit, swarm: ComputeTarget, backend: FakeBackend
):
    backend.nodes = [node("a", gpus=2, healthy=False), node("b", gpus=2)]
    gang = submit(
        compute_target="swarm",
        distributed_training=TWO_WORKERS,
        use_gpu=True,
        gpus_per_process=2,
    )
    other = tick(submit(compute_target="swarm"))
    assert other.status == RunStatus.PREPARING
    assert "does not fit on swarm even when idle: its node has 2 GPUs" in told(gang)


@pytest.mark.parametrize(
    ("config", "field", "said"),
    [
        (
            {"use_gpu": True, "gpus_per_process": 3},
            "gpus_per_process",
            "1 process does not fit on the 2 nodes of target swarm. The largest, a, has 2 GPUs,"
            " 4 CPUs and 8 GB memory.",
        ),
        (
            {"distributed_training": {"type": "multi_worker", "worker_count": 5}, **ONE_GPU},
            "gpus_per_process",
            "5 processes need 5 GPUs; target swarm has 4 GPUs.",
        ),
        (
            {"memory_gb": 9},
            "memory_gb",
            "1 process does not fit on the 2 nodes of target swarm. The largest, a, has 2 GPUs,"
            " 4 CPUs and 8 GB memory.",
        ),
        (
            {"distributed_training": {"type": "multi_worker", "worker_count": 65}},
            "distributed_training",
            "65 processes need 65 processes; target swarm has 64 processes.",
        ),
    ],
    ids=["too large for a node", "too many in all", "memory", "processes"],
)
def test_what_a_target_could_never_run_is_refused_with_numbers(
    submit: Submit, swarm: ComputeTarget, config: dict[str, object], field: str, said: str
):
    assert refused(submit, compute_target="swarm", **config) == [(field, said)]


def test_what_is_left_idle_on_every_node_is_given_to_nobody(submit: Submit, swarm: ComputeTarget):
    ComputeTarget.objects.filter(pk=swarm.pk).update(idle_cpus=3, idle_memory_bytes=6e9)
    ((field, said),) = refused(submit, compute_target="swarm", cpus_per_process=1.5)
    assert field == "cpus_per_process"
    assert "The largest, a, has 2 GPUs, 1 CPU and 2 GB memory" in said
    two = [submit(compute_target="swarm", cpus_per_process=1) for _ in range(2)]
    third = submit(compute_target="swarm", cpus_per_process=1)
    assert [tick(run).status for run in two] == [RunStatus.PREPARING] * 2
    assert "0 of 2 CPUs are free" in told(third)


def test_what_a_team_reserves_binds_the_runs_of_its_own_targets_alone(
    submit: Submit, swarm: ComputeTarget, team: Team
):
    others = make_team("others")
    theirs = make_target(others, "theirs", kind="swarm", pool=swarm.pool, idle_cpus=10_000)
    TargetGrant.objects.create(target=theirs, team=team)
    run = submit(compute_target="swarm", cpus_per_process=0.01)
    bound = submit(compute_target="theirs")
    third = submit(compute_target="swarm", cpus_per_process=4)
    assert tick(run).status == RunStatus.PREPARING
    assert tick(third).status == RunStatus.PREPARING
    assert tick(bound).status == RunStatus.PREPARING  # it asks for no CPUs
    ComputeTarget.objects.filter(pk=theirs.pk).update(idle_cpus=3)
    fits = submit(compute_target="theirs", cpus_per_process=0.5)
    waits = submit(compute_target="theirs", cpus_per_process=0.5)
    assert tick(fits).status == RunStatus.PREPARING
    assert tick(waits).status == RunStatus.QUEUED


def test_a_priority_above_what_the_target_allows_is_refused(submit: Submit, team: Team):
    team.targets.update(max_priority=10)
    assert refused(submit, priority=11) == [
        ("priority", "11 is above 10, the highest priority that target local allows.")
    ]


def test_a_run_that_states_no_priority_has_its_targets(submit: Submit, team: Team):
    team.targets.update(default_priority=-5)
    assert submit().priority == -5
    assert submit(priority=0).priority == 0


def test_more_gpus_than_a_run_may_have_are_refused(submit: Submit, swarm: ComputeTarget):
    ComputeTarget.objects.filter(pk=swarm.pk).update(max_gpus_per_run=1)
    assert refused(submit, compute_target="swarm", use_gpu=True, gpus_per_process=2) == [
        ("gpus_per_process", "The run needs 2 GPUs; target swarm allows 1 per run.")
    ]


@pytest.mark.parametrize(
    ("grant", "field", "said"),
    [
        ({"max_runs": 0}, "compute_target", "may start no runs on swarm."),
        ({"max_gpus": 0}, "gpus_per_process", "is limited to 0 on swarm."),
        ({"gpu_hours_a_month": 0}, "use_gpu", "has no GPU-hours on swarm."),
    ],
    ids=["runs", "GPUs", "GPU-hours"],
)
def test_what_a_quota_never_allows_is_refused(
    submit: Submit,
    team: Team,
    swarm: ComputeTarget,
    grant: dict[str, int],
    field: str,
    said: str,
):
    TargetGrant.objects.create(target=swarm, team=team, **grant)
    ((named, message),) = refused(submit, compute_target="swarm", **ONE_GPU)
    assert named == field
    assert said in message


def test_a_replica_of_a_service_gets_no_gpu_that_a_run_waits_to_use(
    submit: Submit, swarm: ComputeTarget
):
    tick(submit(compute_target="swarm", distributed_training=TWO_WORKERS, **ONE_GPU))
    place = place_for_service(swarm, Resources(gpus=1, processes=1))
    assert place.gpus in {("GPU-a-1",), ("GPU-b-1",)}
    with pytest.raises(BackendError, match="Needs 2 GPUs on one node; 2 of 4 GPUs are free"):
        place_for_service(swarm, Resources(gpus=2, processes=1))


def test_a_run_of_another_team_is_not_named_to_those_that_wait(
    submit: Submit, team: Team, bob: User, swarm: ComputeTarget
):
    others = make_team("others", member=make_user("carol"))
    running = bring_up(submit(compute_target="swarm", cpus_per_process=4))
    Run.objects.filter(pk=running.pk).update(team=others)
    ProcessGroup.objects.filter(run=running).update(team=others)
    gang = submit(compute_target="swarm", cpus_per_process=4, distributed_training=TWO_WORKERS)
    assert tick(gang).wait_reason == (
        "Needs 2 processes with 4 CPUs and 1 GB memory each (memory not stated, so assumed);"
        " 4 of 8 CPUs are free; another team's run holds 4."
    )
