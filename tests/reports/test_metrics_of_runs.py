"""Reports B8, B10 and P13: event files outside logs/, sweeps in one run, retries."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from runs.events import group_of_run
from runs.metrics import ingestion, series_limits
from runs.metrics.ingestion import finish_metrics
from runs.metrics.series import series_of
from runs.metrics.series_limits import family_of
from runs.models import ProcessGroup, Run, RunEvent, RunFile
from runs.states import RunStatus
from tests.factories import bearer, make_group, make_run
from tests.runs.metrics.test_metrics import ship
from workspace.models import Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
EVENTS = "events.out.tfevents.1.host"


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    return make_run(team, bob, RunStatus.RUNNING)


def attempt(run: Run) -> ProcessGroup:
    group = make_group(run)
    ProcessGroup.objects.filter(pk=group.pk).update(channel=group_of_run(run.pk))
    return group


def lines(name: str, *points: tuple[int, float]) -> bytes:
    return b"".join(
        json.dumps({"step": step, name: value}).encode() + b"\n" for step, value in points
    )


def curves(client: Client, run: Run, by: User, query: str = "") -> dict[str, list[tuple[int, Any]]]:
    address = f"/api/v1/teams/default/runs/{run.number}/metrics{query}"
    found = client.get(address, headers=bearer(by)).json()["series"]
    return {
        curve["name"]: [(point["step"], point["value"]) for point in curve["points"]]
        for curve in found
    }


def page(client: Client, run: Run, by: User) -> str:
    client.force_login(by)
    return client.get(f"/t/default/runs/{run.number}/metrics/").content.decode()


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        (f"outputs/tb/train/{EVENTS}", "Write to logs/tb instead."),
        (f"outputs/model/{EVENTS}", "Write to logs/model instead."),
        (f"outputs/{EVENTS}", "Write to logs instead."),
        ("outputs/a/metrics.jsonl", "Write to logs/a instead."),
    ],
)
def test_b8_the_empty_page_names_the_file_that_lies_elsewhere(
    client: Client, run: Run, bob: User, path: str, instead: str
) -> None:
    process = attempt(run).processes.get()
    for each in ("outputs/a.txt", path):
        RunFile.objects.create(run=run, path=each, process=process, size_bytes=1)
    assert f"{path} may have scalars, but only files under logs/ are read. {instead}" in page(
        client, run, bob
    )


def test_b8_a_run_that_is_over_has_no_metrics_rather_than_none_yet(
    client: Client, run: Run, bob: User
) -> None:
    assert "No metrics yet" in page(client, run, bob)
    Run.objects.update(status=RunStatus.COMPLETED)
    shown = page(client, run, bob)
    assert "No metrics" in shown
    assert "No metrics yet" not in shown
    assert "while they are written" not in shown


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MAX_SERIES": 30, "MAX_ALIKE": 10, "KEPT_FREE": 5, "FEW_ALIKE": 2}.items():
        monkeypatch.setattr(series_limits, name, value)


@pytest.mark.usefixtures("few")
def test_b10_a_sweep_takes_no_room_from_what_comes_last(
    client: Client, run: Run, bob: User
) -> None:
    group = attempt(run)
    for trial in range(20):
        for name in ("loss", "accuracy"):
            path = f"logs/hp/run-{trial:03}/{name}/metrics.jsonl"
            ship(group, path, lines("best", (1, trial)))
    ingestion._catch_up(run, group, is_final=False)
    ship(group, "logs/final/metrics.jsonl", lines("loss", (1, 0.5)) + lines("auc", (1, 0.9)))
    for _ in range(2):
        finish_metrics(group.pk)
    found = curves(client, run, bob)
    assert found["final/loss"] == [(1, 0.5)]
    assert found["final/auc"] == [(1, 0.9)]
    assert len([name for name in found if name.startswith("hp/")]) == 20
    answer = client.get(
        f"/api/v1/teams/default/runs/{run.number}/metrics?names_only=true", headers=bearer(bob)
    ).json()
    assert answer["left_out"].startswith("20 metrics are left out: ")
    assert answer["left_out"] in page(client, run, bob)
    assert RunEvent.objects.filter(type="metrics.refused").count() == 1


def test_b10_a_sweep_of_three_hundred_trials_is_kept_whole(
    client: Client, run: Run, bob: User
) -> None:
    group = attempt(run)
    trials = {f"run-{trial:03}/{name}": trial for trial in range(300) for name in "abcd"}
    text = json.dumps({"step": 1, **trials}).encode() + b"\n"
    ship(group, "logs/hp/metrics.jsonl", text)
    ship(group, "logs/z/metrics.jsonl", json.dumps({"step": 1, "a": 1, "b": 2, "c": 3}).encode())
    finish_metrics(group.pk)
    with CaptureQueriesContext(connection) as asked:
        found = curves(client, run, bob, "?names_only=true")
    assert len(found) == 1203
    assert len(asked) < 30
    assert "left out" not in page(client, run, bob)


@given(st.text(st.sampled_from("ab/_-"), max_size=8), st.integers(0, 10**9), st.integers(0, 10**9))
def test_b10_names_that_differ_in_a_number_are_alike(stem: str, one: int, other: int) -> None:
    assert family_of(f"{stem}{one}/loss") == family_of(f"{stem}{other}/loss")
    assert family_of(f"{stem}{one}/loss") != family_of("final/loss")


def test_p13_a_retry_replaces_values_from_the_step_at_which_it_goes_on(
    client: Client, run: Run, bob: User
) -> None:
    first = attempt(run)
    ship(first, "logs/metrics.jsonl", lines("loss", *((step, 1000 + step) for step in range(8))))
    ship(first, "logs/b/metrics.jsonl", lines("once", (1, 1)))
    finish_metrics(first.pk)
    second = attempt(run)
    ship(second, "logs/metrics.jsonl", lines("loss", (5, 2005), (6, 2006)))
    ingestion._catch_up(run, second, is_final=False)
    ship(second, "logs/metrics.jsonl", lines("loss", (7, 2007), (8, 2008)))
    finish_metrics(second.pk)
    kept = [(step, 1000 + step) for step in range(5)]
    assert curves(client, run, bob) == {
        "b/once": [(1, 1)],
        "loss": [*kept, *((step, 2000 + step) for step in range(5, 9))],
    }


def test_p13_what_is_read_late_of_an_earlier_attempt_replaces_nothing(
    client: Client, run: Run, bob: User
) -> None:
    first = attempt(run)
    ship(first, "logs/metrics.jsonl", lines("loss", *((step, 1000 + step) for step in range(8))))
    second = attempt(run)
    ship(second, "logs/metrics.jsonl", lines("loss", (5, 2005)) + lines("loss", (4, 2004)))
    finish_metrics(second.pk)
    finish_metrics(first.pk)
    kept = [(step, 1000 + step) for step in range(4)]
    assert sorted(curves(client, run, bob)["loss"]) == [*kept, (4, 2004), (5, 2005)]


STEPS = st.lists(st.integers(0, 6), min_size=1, max_size=6)


@given(data=st.data())
def test_p13_every_step_has_the_value_of_the_last_attempt_that_went_past_it(data: Any) -> None:
    """Check the rule over any attempts, whatever order their steps come in."""
    from tests.factories import make_team

    run = make_run(make_team(), status=RunStatus.RUNNING)
    attempts = data.draw(st.lists(STEPS, min_size=1, max_size=3))
    expected: list[tuple[int, int]] = []
    for number, steps in enumerate(attempts, start=1):
        group = attempt(run)
        ship(group, "logs/metrics.jsonl", lines("loss", *((step, number) for step in steps)))
        finish_metrics(group.pk)
        expected = [point for point in expected if point[0] < min(steps)]
        expected += [(step, number) for step in steps]
    stored = [(point.step, point.value) for curve in series_of(run) for point in curve.points]
    assert sorted(stored) == sorted(expected)
