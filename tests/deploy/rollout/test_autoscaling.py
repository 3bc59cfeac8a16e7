"""How many replicas the requests in flight call for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.rollout.scaling_rule import LoadSample, replicas_for, wanted_replicas
from deploy.service_options import AutoscaleOptions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def load(seconds_ago: float, in_flight: float) -> LoadSample:
    return LoadSample(NOW - timedelta(seconds=seconds_ago), in_flight)


RULE = AutoscaleOptions(max_replicas=10, cool_down_seconds=60)
SLEEPY = AutoscaleOptions(cool_down_seconds=60, idle_seconds=120)
TABLE = {
    "nobody asks": (RULE, [], 0, 1),
    "one in flight, of which 0.7 fit": (RULE, [load(5, 1.0)], 0, 2),
    "exactly what two take": (RULE, [load(5, 1.4)], 0, 2),
    "a hair more than two take": (RULE, [load(5, 1.41)], 0, 3),
    "far more than is allowed": (RULE, [load(5, 500.0)], 0, 10),
    "more as soon as more is called for": (RULE, [load(25, 0.1), load(5, 3.5)], 0, 5),
    "no fewer within the cool-down": (RULE, [load(50, 3.5), load(5, 0.1)], 0, 5),
    "fewer after it": (RULE, [load(70, 3.5), load(5, 0.1)], 0, 1),
    "without a cool-down the last span counts": (
        AutoscaleOptions(cool_down_seconds=0),
        [load(40, 3.5), load(15, 1.0)],
        0,
        2,
    ),
    "asked not long ago": (SLEEPY, [], 119, 1),
    "idle for long": (SLEEPY, [], 120, 0),
    "idle for long, and may not sleep": (RULE, [], 10_000, 1),
    "several requests fit into each": (
        AutoscaleOptions(requests_per_replica=20),
        [load(5, 15.0)],
        0,
        2,
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_replicas_follow_the_requests_in_flight(case: str) -> None:
    rule, loads, idle, expected = TABLE[case]
    used_at = NOW - timedelta(seconds=idle)
    assert wanted_replicas(rule, loads, now=NOW, used_at=used_at) == expected


rules = st.builds(
    AutoscaleOptions,
    min_replicas=st.integers(1, 5),
    max_replicas=st.integers(5, 32),
    target_utilization=st.integers(1, 100),
    requests_per_replica=st.integers(1, 100),
)


@given(rules, st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_load_never_means_fewer_replicas(
    rule: AutoscaleOptions, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert (
        rule.min_replicas
        <= replicas_for(rule, low)
        <= replicas_for(rule, high)
        <= rule.max_replicas
    )


@given(rules, st.floats(0, 1e6))
def test_what_is_given_is_enough_unless_it_is_the_most(
    rule: AutoscaleOptions, in_flight: float
) -> None:
    count = replicas_for(rule, in_flight)
    capacity = count * rule.requests_per_replica * rule.target_utilization / 100
    assert count == rule.max_replicas or capacity >= in_flight * (1 - 1e-6) - 1e-6
