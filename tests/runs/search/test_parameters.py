"""Parameters of runs: named as people know them, stored at submission and for earlier runs."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from runs.models import Run
from runs.search.parameters import parameters_in, parameters_of
from tests.factories import bearer, make_target
from tests.runs.supervision.supervised_runs import Submit
from workspace.models import Experiment, Team

SECRET = "hunter2-hunter2"
CASES: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"--lr": 0.1, "-b": 32, "epochs": "3"}, {"lr": "0.1", "b": "32", "epochs": "3"}),
    ({"--fast": None, "--cache": ""}, {"fast": "", "cache": ""}),
    ({"--lr=0.1": None, "--name=a=b": ""}, {"lr": "0.1", "name": "a=b"}),
    (
        {"--layers": [64, 32], "--off": False, "--none": 0},
        {"layers": "64 32", "off": "False", "none": "0"},
    ),
    ({"--lr": 1, "-lr": 2}, {"lr": "2"}),
    ({"--": "x", "--" + "n" * 251: 1}, {}),
    ({"--password": SECRET, f"--password={SECRET}": None}, {"password": "***"}),
    ({"--long": "x" * 7_000}, {"long": "x" * 6_000}),
]


@pytest.mark.parametrize(("script_params", "expected"), CASES)
def test_parameters_have_names_without_dashes(
    script_params: dict[str, Any], expected: dict[str, str]
) -> None:
    assert parameters_in(script_params) == expected


@pytest.mark.django_db
def test_parameters_of_a_submission_are_shown_with_the_run(
    submit: Submit, client: Client, vera: User
) -> None:
    run = submit(script_params={"--lr": 0.1, "--password": SECRET})
    shown = client.get(f"/api/v1/teams/default/runs/{run.number}", headers=bearer(vera)).json()
    assert shown["parameters"] == {"lr": "0.1", "password": "***"}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_earlier_runs_get_parameters_from_their_configurations(team: Team) -> None:
    before = ("runs", "0012_last_points")
    executor = MigrationExecutor(connection)
    executor.migrate([before])
    try:
        models = executor.loader.project_state(before).apps
        snapshot = models.get_model("runs", "Snapshot").objects.create(
            team_id=team.pk, digest="d" * 64, file_count=1, total_bytes=1
        )
        place = {
            "team_id": team.pk,
            "snapshot": snapshot,
            "experiment_id": Experiment.objects.create(team=team, name="e").pk,
            "target_id": make_target(team).pk,
        }
        runs = models.get_model("runs", "Run").objects
        config = {"script_params": [["--lr", 0.1], ["--note", "x" * 5_000]]}
        runs.create(number=1, config=config, **place)
        runs.create(number=2, config={}, **place)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    first, second = Run.objects.filter(team=team).order_by("number")
    assert parameters_of(first) == {"lr": "0.1", "note": "x" * 5_000}
    assert parameters_of(second) == {}
