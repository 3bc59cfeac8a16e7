"""P3: what states neither CPUs nor memory is not admitted without measure."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from runs.models import Run
from runs.scheduling.requests import PendingRun, TargetLimits
from runs.scheduling.resources import Resources
from runs.states import RunStatus
from tests.factories import bearer
from tests.fakes import FakeBackend
from tests.runs.conftest import backend, submit
from tests.runs.scheduling.queue_builders import decided, node, share, waiting
from tests.runs.supervision.supervised_runs import Submit, bring_up, tick
from workspace.compute.base import Node
from workspace.models import Team

__all__ = ["backend", "submit"]

GB = 10**9
TWO_CORES = [node(cpus=2, gb=8, gpus=0)]
FOUR_PROCESSES = {
    "type": "parameter_server",
    "worker_count": 2,
    "parameter_server_count": 1,
    "chief": True,
}


def silent(number: int, count: int = 1, cpus: float = 0, gb: float = 0) -> PendingRun:
    """Return a run whose processes count as a core and 1 GB each, where they state nothing."""
    assumed = Resources(0.0 if cpus else 1.0, 0 if gb else GB)
    return waiting(number, count=count, cpus=cpus, gb=gb, assumed=(assumed,) * count)


def test_of_twenty_runs_that_state_nothing_as_many_start_as_there_are_cores():
    decision = decided([silent(number) for number in range(20)], [], TWO_CORES)
    assert list(decision.start) == [0, 1]
    assert decision.wait_reasons[2] == (
        "Needs 1 CPU and 1 GB memory (CPUs and memory not stated, so assumed); 0 of 2 CPUs are"
        " free."
    )


def test_memory_that_nobody_states_is_not_used_up_either():
    runs = [silent(number, cpus=0.01) for number in range(20)]
    decision = decided(runs, [], TWO_CORES)
    assert len(decision.start) == 8
    assert decision.wait_reasons[8].startswith(
        "Needs 0.01 CPUs and 1 GB memory (memory not stated, so assumed); 0 of 8 GB memory"
    )


@pytest.mark.parametrize(
    ("count", "limit", "cpus"),
    [(4, None, 0.5), (2, None, 1.0), (16, None, 0.125), (4, 1.0, 0.25)],
    ids=["the demo on two cores", "as many as there are", "many", "a target with a limit"],
)
def test_a_run_that_alone_is_larger_than_the_nodes_has_them_to_itself(
    count: int, limit: float | None, cpus: float
):
    only = TargetLimits("gpu", Resources(limit or 64, 1e12, 0, 64))
    runs = [silent(1, count), silent(2), silent(3, cpus=0.1)]
    decision = decided(runs, [], TWO_CORES, terms=only)
    assert [place.cpus for place in decision.start[1]] == [pytest.approx(cpus)] * count
    assert decision.start.keys() == {1}


def test_what_is_stated_is_never_made_smaller():
    decision = decided([silent(1, count=4, gb=3)], [], TWO_CORES)
    assert not decision.start
    assert "does not fit on gpu even when idle" in decision.wait_reasons[1]
    assert "assumed" not in decision.wait_reasons[1]


@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=9),
)
def test_whatever_is_not_stated_starts_on_idle_nodes(cores: list[int], states_cpus: list[bool]):
    """A gang of which some processes state a hundredth of a core, the others nothing."""
    nodes = [node("abcd"[at], cpus=each, gb=1, gpus=0) for at, each in enumerate(cores)]
    processes = tuple(share(cpus=0.01 if states else 0) for states in states_cpus)
    assumed = tuple(Resources(0.0 if states else 1.0, GB) for states in states_cpus)
    decision = decided([waiting(1, processes=processes, assumed=assumed)], [], nodes)
    assert len(decision.start[1]) == len(states_cpus)


@pytest.mark.django_db
def test_runs_wait_for_a_core_and_say_what_is_assumed(
    submit: Submit, team: Team, backend: FakeBackend, client: Client, bob: User
):
    backend.nodes = [Node("here", 2, 8 * GB)]
    runs = [submit() for _ in range(4)]
    tick(runs[0])
    told = [
        client.get(f"/api/v1/teams/{team.slug}/runs/{run.number}", headers=bearer(bob)).json()
        for run in runs
    ]
    assert [run["status"] for run in told] == ["Preparing", "Preparing", "Queued", "Queued"]
    assert (
        "(CPUs and memory not stated, so assumed); 0 of 2 CPUs are free" in told[2]["wait_reason"]
    )


@pytest.mark.django_db
def test_a_gang_of_four_runs_alone_on_two_cores(submit: Submit, team: Team, backend: FakeBackend):
    backend.nodes = [Node("here", 2, 8 * GB)]
    gang = bring_up(submit(distributed_training=FOUR_PROCESSES))
    other = tick(submit())
    assert (gang.status, other.status) == (RunStatus.RUNNING, RunStatus.QUEUED)
    assert "0 of 2 CPUs are free; run 1 of bob holds 2." in other.wait_reason
    assert [process.cpus for process in gang.attempts.get().processes.all()] == [None] * 4


@pytest.mark.django_db
def test_the_page_of_a_target_counts_what_is_assumed(
    submit: Submit, team: Team, backend: FakeBackend, client: Client, bob: User
):
    bring_up(submit())
    (held,) = client.get(
        f"/api/v1/teams/{team.slug}/targets/local/holders", headers=bearer(bob)
    ).json()
    assert (held["cpus"], held["memory_bytes"]) == (1.0, GB)


@pytest.mark.django_db
def test_an_installation_may_assume_other_amounts_of_memory(
    submit: Submit, backend: FakeBackend, settings: Settings
):
    settings.TRAINYARD_DEFAULT_MEMORY_BYTES = 3 * GB
    backend.nodes = [Node("here", 8, 8 * GB)]
    runs = [submit() for _ in range(3)]
    tick(runs[0])
    assert Run.objects.filter(status=RunStatus.PREPARING).count() == 2
