"""Runs are found and ordered by what MLflow's clients may ask of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from runs.models import MetricSeries, Run
from runs.search import entities
from runs.search.grammar import MAX_CHARACTERS, MAX_CLAUSES, parse_filter, parse_order
from runs.search.parameters import store_parameters
from runs.search.run_query import matching, ordered
from runs.selectors import runs_of
from runs.states import RunStatus
from tests.factories import make_run
from workspace.models import Team

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, tzinfo=UTC)
MS = int(START.timestamp() * 1000)


def with_values(
    run: Run,
    *,
    params: dict[str, Any] | None = None,
    metrics: dict[str, float | None] | None = None,
) -> Run:
    store_parameters(run, params or {})
    for name, value in (metrics or {}).items():
        MetricSeries.objects.create(
            run=run, name=name, last_step=1, last_at=START, last_value=value
        )
    return run


@pytest.fixture(autouse=True)
def runs(team: Team, bob: User, vera: User) -> list[Run]:
    return [
        with_values(
            make_run(
                team,
                bob,
                RunStatus.COMPLETED,
                name="Wide",
                tags={"data": "mnist", "a.b c": "x"},
                created_at=START + timedelta(microseconds=500),
                ended_at=START + timedelta(seconds=5),
            ),
            params={"--lr": 0.1, "--batch": 8, "--note": "50% [a]*"},
            metrics={"loss": 0.5, "val acc": 0.9},
        ),
        with_values(
            make_run(
                team,
                vera,
                RunStatus.FAILED,
                name="wide_2",
                tags={"data": "MNIST-2"},
                created_at=START + timedelta(seconds=1),
                ended_at=START + timedelta(seconds=2),
            ),
            params={"--lr": 0.01, "--batch": 16, "--note": "x" * 5_000},
            metrics={"loss": None, "inf": float("inf")},
        ),
        with_values(
            make_run(team, bob, RunStatus.QUEUED, created_at=START + timedelta(seconds=2)),
            params={
                "--batch": 128,
                "--name": "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}",
            },
            metrics={"loss": 0.25},
        ),
        with_values(
            make_run(team, None, RunStatus.FINALIZING, created_at=START + timedelta(seconds=3)),
            params={"--batch": "auto"},
        ),
    ]


FOUND: list[tuple[str, list[int]]] = [
    ("", [1, 2, 3, 4]),
    ("params.lr = '0.1'", [1]),
    ("params.lr != '0.1'", [2]),
    ("params.lr LIKE '0.%'", [1, 2]),
    ("params.lr IS NULL", [3, 4]),
    ("params.lr IS NOT NULL AND params.batch = '16'", [2]),
    ("params.note LIKE '50% [a]*'", [1]),
    ("params.note LIKE '%\\%%'", []),
    ("params.note LIKE '5?%'", []),
    ("params.note LIKE '5___[_]*'", [1]),
    (f"params.note = '{'x' * 5_000}'", [2]),
    (f"params.note = '{'x' * 4_999}'", []),
    (
        "params.name = '\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}'",
        [3],
    ),
    ("tags.data = 'mnist'", [1]),
    ("tags.data != 'mnist'", [2]),
    ("tags.data LIKE 'MNIST%'", [2]),
    ("tags.data ILIKE 'MNIST%'", [1, 2]),
    ("tags.data IS NULL", [3, 4]),
    ("tags.`a.b c` IS NOT NULL", [1]),
    ("tags.mlflow.runName = 'Wide'", [1]),
    ("tags.mlflow.runName IS NULL", [3, 4]),
    ("tags.mlflow.user = 'vera'", [2]),
    ("metrics.loss < 1", [1, 3]),
    ("metrics.loss <= 0.5 AND metrics.loss >= 0.5", [1]),
    ("metrics.loss = 0.25", [3]),
    ("metrics.loss != 0.25", [1]),
    ("metrics.`val acc` > 1e-3", [1]),
    ("metrics.inf > 1e300", [2]),
    ("metrics.loss < 1e999", [1, 3]),
    ("run_id = '2'", [2]),
    ("run_id = 'x'", []),
    ("run_id IN ('1', '3', 'x')", [1, 3]),
    ("run_id NOT IN ('1', '3', 'x')", [2, 4]),
    ("run_id != '2'", [1, 3, 4]),
    ("run_id LIKE '_'", [1, 2, 3, 4]),
    ("run_name = 'Wide'", [1]),
    ("run_name LIKE 'wide%'", [2]),
    ("run_name ILIKE 'wide%'", [1, 2]),
    ("run_name LIKE 'wide\\_2'", []),
    ("run_name != 'Wide'", [2]),
    ("attributes.user_id = 'bob'", [1, 3]),
    ("user_id != 'bob'", [2]),
    ("status = 'FINISHED'", [1]),
    ("status = 'Completed'", [1]),
    ("status = 'RUNNING'", [4]),
    ("status = 'SCHEDULED'", [3]),
    ("status != 'FAILED'", [1, 3, 4]),
    ("status LIKE 'F%'", [1, 2, 4]),
    ("status ILIKE 'fail%'", [2]),
    ("artifact_uri LIKE '%'", []),
    ("dataset.name IN ('x')", []),
    ("dataset.name != 'x'", []),
    (f"start_time = {MS}", [1]),
    (f"start_time > {MS}", [2, 3, 4]),
    (f"start_time >= {MS}", [1, 2, 3, 4]),
    (f"start_time < {MS + 1}", [1]),
    (f"start_time <= {MS}", [1]),
    (f"start_time < {MS}", []),
    (f"start_time != {MS}", [2, 3, 4]),
    (f"start_time = {MS}.5", []),
    (f"created > {MS + 1_000}", [3, 4]),
    (f"end_time > {MS + 2_000}", [1]),
    (f"end_time != {MS + 2_000}", [1]),
    ("end_time < 1e999", [1, 2]),
    ("end_time > -1e999", [1, 2]),
]


@pytest.mark.parametrize(("text", "numbers"), FOUND)
def test_runs_are_found(team: Team, text: str, numbers: list[int]) -> None:
    found = matching(runs_of(team), parse_filter(text, entities.RUNS))
    assert sorted(run.number for run in found) == numbers


ORDERED: list[tuple[list[str], list[int]]] = [
    ([], [4, 3, 2, 1]),
    (["metrics.loss"], [3, 1, 4, 2]),
    (["metrics.loss DESC"], [1, 3, 4, 2]),
    (["params.batch"], [1, 2, 3, 4]),
    (["params.batch DESC"], [3, 2, 1, 4]),
    (["params.lr DESC"], [1, 2, 4, 3]),
    (["tags.data"], [2, 1, 4, 3]),
    (["run_name DESC"], [2, 1, 4, 3]),
    (["user_id DESC", "start_time"], [2, 1, 3, 4]),
    (["status"], [1, 2, 4, 3]),
    (["run_id"], [1, 2, 3, 4]),
    (["end_time"], [2, 1, 4, 3]),
    (["dataset.name"], [4, 3, 2, 1]),
    (["artifact_uri DESC"], [4, 3, 2, 1]),
]


@pytest.mark.parametrize(("orders", "numbers"), ORDERED)
def test_runs_are_ordered_with_missing_values_last(
    team: Team, orders: list[str], numbers: list[int]
) -> None:
    orderings = [parse_order(order, entities.RUNS) for order in orders]
    found = [run.number for run in ordered(runs_of(team), orderings)]
    assert found == numbers


def test_the_largest_filters_are_answered(team: Team) -> None:
    many = " AND ".join(["metrics.loss < 1", "params.lr LIKE '0%'"] * (MAX_CLAUSES // 2))
    assert [run.number for run in matching(runs_of(team), parse_filter(many, entities.RUNS))] == [1]
    start = "params.lr LIKE '"
    longest = f"{start}{'[' * (MAX_CHARACTERS - len(start) - 1)}'"
    assert not matching(runs_of(team), parse_filter(longest, entities.RUNS)).exists()
