"""Who may start: gangs whole or not at all, nobody delayed by those who came later."""

import pytest

from runs.queue_terms import Place, Quota, Share, TargetTerms
from tests.runs.queue_builders import HOUR, NOON, decided, holding, low, machine, share, waiting


def test_what_fits_starts_in_order_of_arrival():
    assert list(decided([waiting(2, cpus=2), waiting(1, cpus=2)]).start) == [1, 2]


def test_a_run_without_stated_needs_always_starts():
    assert decided([waiting(1)], [holding(9, cpus=4, gb=8, gpus=[0, 1])]).start == {
        1: (Place("a"),)
    }


def test_priority_comes_before_arrival():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=3, priority=5)])
    assert list(decision.start) == [2]
    assert "run 2" not in decision.because[1]


def test_rank_orders_runs_of_one_priority():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=3, rank=0.5)])
    assert list(decision.start) == [2]


def test_gpus_are_given_by_uuid_and_none_twice():
    decision = decided(
        [waiting(1, gpus=1), waiting(2, gpus=2), waiting(3, gpus=1)],
        [holding(9, gpus=[1])],
        [machine(gpus=4)],
    )
    assert decision.start == {
        1: (Place("a", ("GPU-a-0",)),),
        2: (Place("a", ("GPU-a-2", "GPU-a-3")),),
    }


def test_a_gang_is_spread_over_its_nodes():
    decision = decided([waiting(1, count=2, cpus=1)], [], [machine("a"), machine("b")])
    assert {place.node for place in decision.start[1]} == {"a", "b"}


def test_a_gang_with_more_processes_than_nodes_doubles_up():
    nodes = [machine("a", cpus=4), machine("b", cpus=2)]
    decision = decided([waiting(1, count=3, cpus=2)], [], nodes)
    assert sorted(place.node for place in decision.start[1]) == ["a", "a", "b"]


def test_processes_of_different_size_find_their_nodes():
    gang = waiting(1, processes=(share(cpus=1), share(cpus=4, gpus=2)))
    decision = decided([gang], [], [machine("a", gpus=0), machine("b", cpus=4)])
    assert [place.node for place in decision.start[1]] == ["a", "b"]


def test_runs_without_gpus_keep_off_nodes_that_have_them():
    nodes = [machine("a", gpus=2), machine("b", gpus=0)]
    assert decided([waiting(1, cpus=1)], [], nodes).start[1] == (Place("b"),)


def test_gpus_that_are_free_together_stay_together():
    nodes = [machine("a", gpus=4), machine("b", gpus=4)]
    decision = decided([waiting(1, gpus=1)], [holding(9, "b", gpus=[0])], nodes)
    assert decision.start[1][0].node == "b"


def test_no_process_goes_to_a_node_that_its_target_may_not_use():
    only_b = TargetTerms("gpu", nodes=frozenset({"b"}))
    decision = decided([waiting(1, cpus=1)], [], [machine("a"), machine("b")], terms=only_b)
    assert decision.start[1] == (Place("b"),)


def test_two_targets_share_what_one_machine_has():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=3, target_id=2)])
    assert list(decision.start) == [1]


def test_a_small_run_is_let_past_where_it_delays_nobody():
    decision = decided([waiting(1, cpus=3), waiting(2, cpus=1)], [holding(9, cpus=2)])
    assert list(decision.start) == [2]


def test_a_small_run_waits_where_it_would_delay_the_one_before_it():
    decision = decided([waiting(1, cpus=4), waiting(2, cpus=1)], [holding(9, cpus=2)])
    assert decision.because[2] == "Needs 1 CPU, kept for run 1 of ana, which comes first."


def test_a_short_run_is_let_past_where_it_leaves_in_time():
    held = [holding(9, cpus=2, ends_at=NOON + HOUR)]
    first = waiting(1, cpus=4)
    assert 2 in decided([first, waiting(2, cpus=1, seconds=HOUR)], held).start
    assert 2 not in decided([first, waiting(2, cpus=1, seconds=HOUR + 1)], held).start


def test_a_run_that_can_never_start_as_things_are_holds_nobody_up():
    decision = decided([waiting(1, cpus=5), waiting(2, cpus=4)])
    assert list(decision.start) == [2]
    assert decision.because[1] == (
        "Needs 5 CPUs; empty, gpu could not hold it: its node has 2 GPUs, 4 CPUs and 8.0 GB of"
        " memory."
    )


def test_on_nodes_that_a_blocked_run_cannot_use_others_start():
    nodes = [machine("a", gpus=2), machine("b", gpus=0)]
    runs = [waiting(1, gpus=2), waiting(2, gpus=2), waiting(3, cpus=4)]
    assert list(decided(runs, [holding(9, gpus=[0])], nodes).start) == [3]


def test_a_paused_target_starts_nothing_and_holds_nobody_up():
    decision = decided([waiting(1)], terms=TargetTerms("gpu", closed="Target gpu is paused."))
    assert decision.because == {1: "Target gpu is paused."}


def test_a_target_uses_no_more_than_it_may():
    terms = TargetTerms("gpu", most=Share(2, 8e9, 2, 3))
    decision = decided([waiting(1, cpus=2), waiting(2, cpus=1)], terms=terms)
    assert decision.because[2] == (
        "Needs 1 CPU; with what is held that makes 3 CPUs, of 2 that target gpu may use."
    )


def test_more_processes_than_a_target_may_run_at_once_wait():
    terms = TargetTerms("gpu", most=Share(9, 8e9, 2, 3))
    decision = decided([waiting(1, count=2), waiting(2, count=2)], terms=terms)
    assert "4 processes, of 3" in decision.because[2]


@pytest.mark.parametrize(
    ("quota", "said"),
    [
        (
            Quota("Ana", max_runs=1),
            "Needs 1 GPU; team Ana may have 1 run at once on gpu, where it has 1 run and 1 GPU.",
        ),
        (
            Quota("Ana", max_gpus=1),
            "Needs 1 GPU; team Ana may have 1 GPU on gpu, where it has 1 run and 1 GPU.",
        ),
        (
            Quota("Ana", gpu_hours=10, gpu_hours_used=10.25),
            "Team Ana has used 10.2 of its 10 GPU-hours of this month on gpu; it waits for the next"
            " month or a higher limit.",
        ),
    ],
    ids=["runs", "GPUs", "GPU-hours"],
)
def test_a_team_that_has_its_quota_waits_and_holds_up_no_other_team(quota: Quota, said: str):
    decision = decided(
        [waiting(1, gpus=1), waiting(2, gpus=1, team_id=2)], [holding(9, gpus=[0])], quota=quota
    )
    assert decision.because == {1: said}
    assert list(decision.start) == [2]


def test_a_team_that_has_spent_its_gpu_hours_may_still_use_cpus():
    spent = Quota("Ana", gpu_hours=1, gpu_hours_used=1)
    assert 1 in decided([waiting(1, cpus=1)], quota=spent).start


def test_small_runs_of_a_team_do_not_starve_its_large_one():
    quota = Quota("Ana", max_gpus=2)
    decision = decided(
        [waiting(1, gpus=2), waiting(2, gpus=1)],
        [holding(9, gpus=[0])],
        [machine(gpus=4)],
        quota=quota,
    )
    assert not decision.start
    assert "its runs that come first need the rest" in decision.because[2]


def test_the_newest_runs_of_low_priority_make_way_and_no_more_than_needed():
    held = [low(7, cpus=1), low(8, cpus=1), low(9, cpus=1), holding(6, cpus=1)]
    decision = decided([waiting(1, cpus=2)], held)
    assert set(decision.preempt) == {8, 9}
    assert decision.because[1] == (
        "Needs 2 CPUs; run 9 of ana and run 8 of ana, of low priority, make way for it."
    )


def test_only_those_whose_nodes_help_make_way():
    held = [low(7, "a", cpus=4), low(9, "b", cpus=4)]
    decision = decided(
        [waiting(1, gpus=1, cpus=4)], held, [machine("a", gpus=1), machine("b", gpus=0)]
    )
    assert decision.preempt == {7: 1}


def test_nobody_makes_way_in_vain():
    held = [holding(6, cpus=3), low(9, cpus=1)]
    assert decided([waiting(1, cpus=2)], held).preempt == {}


@pytest.mark.parametrize("priority", [-1, -50])
def test_nobody_makes_way_for_low_priority(priority: int):
    held = [low(9, cpus=4)]
    assert decided([waiting(1, cpus=2, priority=priority)], held).preempt == {}


def test_while_one_is_making_way_no_other_has_to():
    leaving = low(9, cpus=2, is_ending=True)
    decision = decided([waiting(1, cpus=2)], [leaving, low(8, cpus=2)])
    assert decision.preempt == {}
    assert "run 9 of ana holds 2 and is ending" in decision.because[1]


def test_what_was_freed_for_one_is_not_given_to_another():
    leaving = low(9, cpus=2, is_ending=True)
    decision = decided([waiting(1, cpus=4), waiting(2, cpus=2)], [leaving])
    assert not decision.start


def test_those_of_low_priority_make_way_in_a_full_target_too():
    terms = TargetTerms("gpu", most=Share(2, 8e9, 2, 9))
    decision = decided([waiting(1, cpus=2)], [low(9, cpus=1)], terms=terms)
    assert decision.preempt == {9: 1}
    again = decided([waiting(1, cpus=2)], [low(9, cpus=1, is_ending=True)], terms=terms)
    assert again.preempt == {}
    assert not again.start


def test_a_waiting_run_says_what_is_free_and_who_holds_the_rest_until_when():
    held = [
        holding(118, gpus=[0, 1], ends_at=NOON + 2 * HOUR + 1200),
        holding(119, gpus=[2]),
        holding(7, gpus=[3], team_id=2),
    ]
    decision = decided([waiting(1, count=2, gpus=2)], held, [machine(gpus=6)])
    assert decision.because[1] == (
        "Needs 2 processes with 2 GPUs each; 2 of 6 GPUs are free; run 118 of ana holds 2 until"
        " about 14:20 UTC; run 119 of ana holds 1. It starts by about 14:20 UTC."
    )


def test_a_run_of_another_team_is_not_named():
    decision = decided([waiting(1, gpus=2)], [holding(7, gpus=[1], team_id=2)])
    assert decision.because[1] == ("Needs 2 GPUs; 1 of 2 GPUs is free; another team's run holds 1.")


def test_what_is_free_but_on_different_nodes_is_said():
    nodes = [machine("a", gpus=2), machine("b", gpus=2)]
    held = [holding(8, "a", gpus=[0]), holding(9, "b", gpus=[0])]
    decision = decided([waiting(1, gpus=2)], held, nodes)
    assert decision.because[1].startswith(
        "Needs 2 GPUs; 2 of 4 GPUs are free, but not together; run 8 of ana holds 1;"
    )


def test_an_end_on_another_day_has_its_date():
    held = [holding(118, gpus=[0, 1], ends_at=NOON + 24 * HOUR)]
    assert "until about 2027-01-16 12:00 UTC" in decided([waiting(1, gpus=1)], held).because[1]
