"""Which runs start: gangs as a whole or not at all, no run delayed by those behind it."""

import pytest

from runs.scheduling.requests import Placement, TargetLimits, TeamQuota
from runs.scheduling.resources import Resources
from tests.runs.scheduling.queue_builders import (
    HOUR,
    NOON,
    decided,
    holding,
    low,
    node,
    share,
    waiting,
)


def test_what_fits_starts_in_order_of_arrival():
    assert list(decided([waiting(2, cpus=2), waiting(1, cpus=2)]).start) == [1, 2]


def test_a_run_without_stated_needs_always_starts():
    assert decided([waiting(1)], [holding(9, cpus=4, gb=8, gpus=[0, 1])]).start == {
        1: (Placement("a"),)
    }


def test_priority_comes_before_arrival():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=3, priority=5)])
    assert list(decision.start) == [2]
    assert "run 2" not in decision.wait_reasons[1]


def test_rank_orders_runs_of_one_priority():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=3, rank=0.5)])
    assert list(decision.start) == [2]


def test_gpus_are_given_by_uuid_and_none_twice():
    decision = decided(
        [waiting(1, gpus=1), waiting(2, gpus=2), waiting(3, gpus=1)],
        [holding(9, gpus=[1])],
        [node(gpus=4)],
    )
    assert decision.start == {
        1: (Placement("a", ("GPU-a-0",)),),
        2: (Placement("a", ("GPU-a-2", "GPU-a-3")),),
    }


def test_a_gang_is_spread_over_its_nodes():
    decision = decided([waiting(1, count=2, cpus=1)], [], [node("a"), node("b")])
    assert {place.node for place in decision.start[1]} == {"a", "b"}


def test_a_gang_with_more_processes_than_nodes_doubles_up():
    nodes = [node("a", cpus=4), node("b", cpus=2)]
    decision = decided([waiting(1, count=3, cpus=2)], [], nodes)
    assert sorted(place.node for place in decision.start[1]) == ["a", "a", "b"]


def test_processes_of_different_size_find_their_nodes():
    gang = waiting(1, processes=(share(cpus=1), share(cpus=4, gpus=2)))
    decision = decided([gang], [], [node("a", gpus=0), node("b", cpus=4)])
    assert [place.node for place in decision.start[1]] == ["a", "b"]


def test_runs_without_gpus_keep_off_nodes_that_have_them():
    nodes = [node("a", gpus=2), node("b", gpus=0)]
    assert decided([waiting(1, cpus=1)], [], nodes).start[1] == (Placement("b", cpus=1),)


def test_gpus_that_are_free_together_stay_together():
    nodes = [node("a", gpus=4), node("b", gpus=4)]
    decision = decided([waiting(1, gpus=1)], [holding(9, "b", gpus=[0])], nodes)
    assert decision.start[1][0].node == "b"


def test_no_process_goes_to_a_node_that_its_target_may_not_use():
    only_b = TargetLimits("gpu", nodes=frozenset({"b"}))
    decision = decided([waiting(1, cpus=1)], [], [node("a"), node("b")], terms=only_b)
    assert decision.start[1] == (Placement("b", cpus=1),)


def test_two_targets_share_what_one_machine_has():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=3, target_id=2)])
    assert list(decision.start) == [1]


def test_a_small_run_is_backfilled_where_it_delays_nobody():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=1)], [holding(9, cpus=2)])
    assert list(decision.start) == [2]


def test_a_small_run_waits_where_it_would_delay_the_one_before_it():
    decision = decided([waiting(1, cpus=4), waiting(2, cpus=1)], [holding(9, cpus=2)])
    assert decision.wait_reasons[2] == (
        "Needs 1 CPU; the free resources are reserved for run 1 of ana, which is ahead in the"
        " queue."
    )


def test_a_short_run_is_backfilled_where_it_ends_in_time():
    allocations = [holding(9, cpus=2, ends_at=NOON + HOUR)]
    first = waiting(1, cpus=4)
    assert 2 in decided([first, waiting(2, cpus=1, seconds=HOUR)], allocations).start
    assert 2 not in decided([first, waiting(2, cpus=1, seconds=HOUR + 1)], allocations).start


def test_a_run_that_can_never_start_as_things_are_holds_nobody_up():
    decision = decided([waiting(1, cpus=5), waiting(2, cpus=4)])
    assert list(decision.start) == [2]
    assert decision.wait_reasons[1] == (
        "Needs 5 CPUs; does not fit on gpu even when idle: its node has 2 GPUs, 4 CPUs and 8 GB"
        " memory."
    )


def test_on_nodes_that_a_blocked_run_cannot_use_others_start():
    nodes = [node("a", gpus=2), node("b", gpus=0)]
    runs = [waiting(1, gpus=2), waiting(2, gpus=2), waiting(3, cpus=4)]
    assert list(decided(runs, [holding(9, gpus=[0])], nodes).start) == [3]


def test_a_paused_target_starts_nothing_and_holds_nobody_up():
    decision = decided(
        [waiting(1)], terms=TargetLimits("gpu", unavailable_reason="Target gpu is paused.")
    )
    assert decision.wait_reasons == {1: "Target gpu is paused."}


def test_a_target_uses_no_more_than_it_may():
    terms = TargetLimits("gpu", limit=Resources(2, 8e9, 2, 3))
    decision = decided([waiting(1, cpus=2), waiting(2, cpus=1)], terms=terms)
    assert decision.wait_reasons[2] == (
        "Needs 1 CPU; target gpu is limited to 2 CPUs, with 2 CPUs in use."
    )


def test_more_processes_than_a_target_may_run_at_once_wait():
    terms = TargetLimits("gpu", limit=Resources(9, 8e9, 2, 3))
    decision = decided([waiting(1, count=2), waiting(2, count=2)], terms=terms)
    assert decision.wait_reasons[2] == (
        "Needs 2 processes; target gpu is limited to 3 processes, with 2 processes in use."
    )


@pytest.mark.parametrize(
    ("quota", "said"),
    [
        (
            TeamQuota("Ana", max_runs=1),
            "Needs 1 GPU; team Ana is limited to 1 concurrent run on gpu and has 1 run and 1 GPU.",
        ),
        (
            TeamQuota("Ana", max_gpus=1),
            "Needs 1 GPU; team Ana is limited to 1 GPU on gpu and has 1 run and 1 GPU.",
        ),
        (
            TeamQuota("Ana", gpu_hours=10, gpu_hours_used=10.25),
            "Team Ana has used 10.2 of its 10 GPU-hours this month on gpu; the run waits for next"
            " month or a higher limit.",
        ),
    ],
    ids=["runs", "GPUs", "GPU-hours"],
)
def test_a_team_that_has_its_quota_waits_and_holds_up_no_other_team(quota: TeamQuota, said: str):
    decision = decided(
        [waiting(1, gpus=1), waiting(2, gpus=1, team_id=2)], [holding(9, gpus=[0])], quota=quota
    )
    assert decision.wait_reasons == {1: said}
    assert list(decision.start) == [2]


def test_a_team_that_has_spent_its_gpu_hours_may_still_use_cpus():
    spent = TeamQuota("Ana", gpu_hours=1, gpu_hours_used=1)
    assert 1 in decided([waiting(1, cpus=1)], quota=spent).start


def test_small_runs_of_a_team_do_not_starve_its_large_one():
    quota = TeamQuota("Ana", max_gpus=2)
    decision = decided(
        [waiting(1, gpus=2), waiting(2, gpus=1)],
        [holding(9, gpus=[0])],
        [node(gpus=4)],
        quota=quota,
    )
    assert not decision.start
    assert "its runs ahead in the queue need the rest" in decision.wait_reasons[2]


def test_the_newest_runs_of_low_priority_are_preempted_and_no_more_than_needed():
    allocations = [low(7, cpus=1), low(8, cpus=1), low(9, cpus=1), holding(6, cpus=1)]
    decision = decided([waiting(1, cpus=2)], allocations)
    assert set(decision.preempt) == {8, 9}
    assert decision.wait_reasons[1] == (
        "Needs 2 CPUs; preempting run 9 of ana and run 8 of ana (lower priority)."
    )


def test_only_runs_whose_nodes_help_are_preempted():
    allocations = [low(7, "a", cpus=4), low(9, "b", cpus=4)]
    decision = decided(
        [waiting(1, gpus=1, cpus=4)], allocations, [node("a", gpus=1), node("b", gpus=0)]
    )
    assert decision.preempt == {7: 1}


def test_nothing_is_preempted_in_vain():
    allocations = [holding(6, cpus=3), low(9, cpus=1)]
    assert decided([waiting(1, cpus=2)], allocations).preempt == {}


@pytest.mark.parametrize("priority", [-1, -50])
def test_nothing_is_preempted_for_low_priority(priority: int):
    allocations = [low(9, cpus=4)]
    assert decided([waiting(1, cpus=2, priority=priority)], allocations).preempt == {}


def test_while_one_is_being_preempted_no_other_is():
    leaving = low(9, cpus=2, is_ending=True)
    decision = decided([waiting(1, cpus=2)], [leaving, low(8, cpus=2)])
    assert decision.preempt == {}
    assert "run 9 of ana holds 2 and is ending" in decision.wait_reasons[1]


def test_what_was_freed_for_one_is_not_given_to_another():
    leaving = low(9, cpus=2, is_ending=True)
    decision = decided([waiting(1, cpus=4), waiting(2, cpus=2)], [leaving])
    assert not decision.start


def test_low_priority_is_preempted_where_the_limit_of_a_target_is_reached_too():
    terms = TargetLimits("gpu", limit=Resources(2, 8e9, 2, 9))
    decision = decided([waiting(1, cpus=2)], [low(9, cpus=1)], terms=terms)
    assert decision.preempt == {9: 1}
    again = decided([waiting(1, cpus=2)], [low(9, cpus=1, is_ending=True)], terms=terms)
    assert again.preempt == {}
    assert not again.start


def test_a_waiting_run_says_what_is_free_and_who_holds_the_rest_until_when():
    allocations = [
        holding(118, gpus=[0, 1], ends_at=NOON + 2 * HOUR + 1200),
        holding(119, gpus=[2]),
        holding(7, gpus=[3], team_id=2),
    ]
    decision = decided([waiting(1, count=2, gpus=2)], allocations, [node(gpus=6)])
    assert decision.wait_reasons[1] == (
        "Needs 2 processes with 2 GPUs each; 2 of 6 GPUs are free; run 118 of ana holds 2 until"
        " about 14:20 UTC; run 119 of ana holds 1. Starts by about 14:20 UTC."
    )


def test_a_run_of_another_team_is_not_named():
    decision = decided([waiting(1, gpus=2)], [holding(7, gpus=[1], team_id=2)])
    assert decision.wait_reasons[1] == (
        "Needs 2 GPUs; 1 of 2 GPUs is free; another team's run holds 1."
    )


def test_what_is_free_but_on_different_nodes_is_said():
    nodes = [node("a", gpus=2), node("b", gpus=2)]
    allocations = [holding(8, "a", gpus=[0]), holding(9, "b", gpus=[0])]
    decision = decided([waiting(1, gpus=2)], allocations, nodes)
    assert decision.wait_reasons[1].startswith(
        "Needs 2 GPUs; 2 of 4 GPUs are free, but fragmented across nodes; run 8 of ana holds 1;"
    )


def test_an_end_on_another_day_has_its_date():
    allocations = [holding(118, gpus=[0, 1], ends_at=NOON + 24 * HOUR)]
    assert (
        "until about 2027-01-16 12:00 UTC"
        in decided([waiting(1, gpus=1)], allocations).wait_reasons[1]
    )
