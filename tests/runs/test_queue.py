"""Who may start: gangs whole or not at all, nobody delayed by those who came later."""

from hypothesis import given
from hypothesis import strategies as st

from runs.queue import Share, Waiting, admit

CAPACITY = Share(cpus=4, memory_bytes=8_000_000_000, gpus=2, processes=10)


def waiting(number: int, priority: int = 0, **need: float) -> Waiting:
    return Waiting(number, number, priority, Share(**{"processes": 1, **need}))  # type: ignore[arg-type]


def test_what_fits_starts_in_order_of_arrival():
    assert admit([waiting(1, cpus=2), waiting(2, cpus=2)], Share(), CAPACITY) == {1: "", 2: ""}


def test_a_gang_that_does_not_fit_whole_waits_and_says_why():
    decisions = admit([waiting(1, cpus=3, processes=3)], Share(cpus=2), CAPACITY)
    assert (
        decisions[1] == "Needs 3 processes, 3 CPUs; with what is running that makes 5 CPUs, of 4."
    )


def test_priority_comes_before_arrival():
    decisions = admit([waiting(1, cpus=3), waiting(2, 5, cpus=3)], Share(), CAPACITY)
    assert decisions[2] == ""
    assert decisions[1]


def test_a_small_run_is_let_past_where_it_delays_nobody():
    decisions = admit([waiting(1, cpus=3), waiting(2, cpus=1)], Share(cpus=2), CAPACITY)
    assert decisions[1]
    assert decisions[2] == ""


def test_a_small_run_waits_where_it_would_delay_the_one_before_it():
    decisions = admit([waiting(1, cpus=4), waiting(2, cpus=1)], Share(cpus=2), CAPACITY)
    assert decisions[2] == "Waits behind run 1, which came first."


shares = st.builds(
    Share,
    cpus=st.integers(0, 5).map(float),
    memory_bytes=st.integers(0, 9).map(lambda gb: gb * 10**9),
    gpus=st.integers(0, 3),
    processes=st.integers(1, 6),
)


@given(st.lists(shares, max_size=12), shares)
def test_nothing_is_given_twice_and_the_first_is_never_passed_over(needs, held):
    runs = [Waiting(n, n, 0, need) for n, need in enumerate(needs)]
    decisions = admit(runs, held, CAPACITY)
    started = [run.need for run in runs if decisions[run.run_id] == ""]
    total = sum(started, held)
    if started:
        assert total.fits(CAPACITY)
    if runs and (held + runs[0].need).fits(CAPACITY):
        assert decisions[0] == ""
    assert decisions.keys() == {run.run_id for run in runs}
