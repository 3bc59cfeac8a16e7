"""Metrics over REST: stored all or none, once each, apart from those of the run's own files."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.events import group_of_run
from runs.metrics import logged, series_limits
from runs.metrics.ingestion import finish_metrics
from runs.metrics.series import series_of
from runs.models import MetricSeries, ProcessGroup, Run
from tests.factories import bearer, make_team, make_user
from tests.runs.ingest.runner_calls import running
from tests.runs.metrics.test_metrics import ship
from workspace.models import Team

pytestmark = pytest.mark.django_db
BIG = 2**63


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0")


@pytest.fixture
def run(group: ProcessGroup) -> Run:
    return Run.objects.select_related("team").get(attempts=group)


@pytest.fixture
def post(client: Client, run: Run, bob: Any) -> Any:
    headers = bearer(bob)

    def send(*metrics: Any, **how: Any) -> Any:
        address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}/metrics"
        body = how.pop("body", {"metrics": list(metrics)})
        return client.post(address, body, content_type="application/json", headers=headers | how)

    return send


def points(run: Run, name: str = "loss") -> list[tuple[int, float | None]]:
    return [
        (point.step, point.value) for curve in series_of(run, name=name) for point in curve.points
    ]


def errors(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_metrics_are_stored_with_their_steps_and_times(post: Any, run: Run) -> None:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    answer = post(
        {"name": "loss", "value": 0.5, "step": 3, "timestamp": at.timestamp() * 1000},
        {"name": "loss", "value": 1, "step": -BIG, "timestamp": "2026-01-31T13:00:00+01:00"},
        {"name": "loss", "value": 0.25, "step": BIG - 1, "timestamp": 1500},
        {"name": "épo/x y", "value": 2, "step": 1, "timestamp": "2026-01-31T12:00:00"},
    )
    assert (answer.status_code, answer.json()) == (200, {"stored": 4})
    assert points(run) == [(-BIG, 1.0), (3, 0.5), (BIG - 1, 0.25)]
    times = [point.at for curve in series_of(run) for point in curve.points]
    assert times == [at, at, datetime.fromtimestamp(1.5, UTC), at]
    last = MetricSeries.objects.get(name="loss")
    assert (last.last_step, last.last_value) == (BIG - 1, 0.25)


def test_a_metric_without_step_and_time_is_of_step_0_and_now(post: Any, run: Run) -> None:
    before = timezone.now()
    assert post({"name": "loss", "value": 0.5}).status_code == 200
    assert post({"name": "loss", "value": 0.5, "step": None, "timestamp": None}).status_code == 200
    [curve] = series_of(run)
    assert [point.step for point in curve.points] == [0, 0]
    assert all(before <= point.at <= timezone.now() for point in curve.points)


def test_nan_and_the_infinities_are_words(post: Any, run: Run, client: Client, vera: Any) -> None:
    words = ["NaN", "Infinity", "-Infinity"]
    post(*({"name": "loss", "value": word, "step": n} for n, word in enumerate(words)))
    post(body='{"metrics": [{"name": "loss", "value": NaN, "step": 3}]}')
    address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}/metrics"
    answer = client.get(address, headers=bearer(vera)).content
    [curve] = json.loads(answer, parse_constant=pytest.fail)["series"]
    assert [point["value"] for point in curve["points"]] == [*words, "NaN"]


def test_an_exact_repeat_is_stored_once_and_anything_else_again(post: Any, run: Run) -> None:
    one = {"name": "loss", "value": 0.5, "step": 1, "timestamp": 1000}
    nan = one | {"value": "NaN"}
    others = [one | {"value": 0.25}, one | {"step": 0}, one | {"timestamp": 999}]
    assert post(one, one, nan).json() == {"stored": 2}
    assert post({"name": "loss", "value": 9, "step": 2, "timestamp": 1000}).json() == {"stored": 1}
    assert post(nan, one, *others, *others).json() == {"stored": 3}
    assert post(one | {"name": "other"}).json() == {"stored": 1}
    assert len(points(run)) == 6


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_stored(post: Any, run: Run) -> None:
    fine = {"name": "loss", "value": 0.5}
    answer = post(
        fine,
        {"name": "", "value": True, "step": 1.5, "timestamp": "soon"},
        {"name": "a" * 251, "value": "high", "step": BIG, "timestamp": -1},
        {"name": "a\nb", "value": 10**400, "step": "1", "timestamp": math.nan},
        {"key": "loss"},
        [],
        {"name": 5, "value": None, "timestamp": 1e300},
    )
    at = [".name", ".value", ".step", ".timestamp"]
    assert list(errors(answer)) == [
        *(f"metrics[{place}]{field}" for place in (1, 2, 3) for field in at),
        "metrics[4].key",
        "metrics[4].name",
        "metrics[4].value",
        "metrics[5]",
        "metrics[6].name",
        "metrics[6].value",
        "metrics[6].timestamp",
    ]
    assert not MetricSeries.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[]", "body"),
        ("not json", "body"),
        ("{}", "metrics"),
        ('{"metrics": []}', "metrics"),
        ('{"metrics": {}}', "metrics"),
        (json.dumps({"metrics": [{"name": "loss", "value": 1}] * 1001}), "metrics"),
        ('{"metrics": [{"name": "loss", "value": 1}], "run": 1}', "run"),
    ],
)
def test_a_body_of_another_form_is_refused(post: Any, body: str, field: str) -> None:
    assert field in errors(post(body=body))


def test_the_last_of_a_thousand_is_stored_too(post: Any, run: Run) -> None:
    assert post(*({"name": "loss", "value": n, "step": n} for n in range(1000))).json() == {
        "stored": 1000
    }
    assert len(points(run)) == 1000


def test_a_run_without_room_for_more_metrics_says_which(
    post: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_limits, "MAX_SERIES", 2)
    monkeypatch.setattr(series_limits, "KEPT_FREE", 0)
    metrics = [{"name": name, "value": 1, "timestamp": 1} for name in ("a", "a", "b", "c")]
    assert list(errors(post(*metrics))) == ["metrics[3].name"]
    assert not MetricSeries.objects.exists()
    assert post(*metrics[:3]).status_code == 200
    assert post(*metrics[:3]).json()["stored"] == 0


def test_metrics_of_the_programs_own_files_stay_apart(
    post: Any, run: Run, group: ProcessGroup
) -> None:
    ship(group, "logs/metrics.jsonl", b'{"step": 1, "loss": 1}\n')
    post({"name": "loss", "value": 2, "step": 1})
    finish_metrics(group.pk)
    found = {curve.process: [point.value for point in curve.points] for curve in series_of(run)}
    assert found == {"": [1.0], logged.API: [2.0]}


def test_who_may_only_read_and_who_is_not_of_the_team_store_nothing(
    post: Any, run: Run, vera: Any
) -> None:
    metric = {"name": "loss", "value": 1}
    stranger = make_user()
    make_team(member=stranger)
    assert post(metric, **bearer(vera)).status_code == 403
    assert post(metric, **bearer(stranger)).status_code == 404
    assert not MetricSeries.objects.exists()


def test_a_run_that_is_unknown_or_deleted_is_not_found(post: Any, run: Run) -> None:
    Run.objects.update(deleted_at=timezone.now())
    assert post({"name": "loss", "value": 1}).status_code == 404
    Run.objects.update(deleted_at=None, number=run.number + 1)
    assert post({"name": "loss", "value": 1}).status_code == 404


def test_watchers_hear_of_new_metrics_once_they_are_stored(
    post: Any,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    told: list[tuple[str, str, str]] = []
    monkeypatch.setattr("runs.events.nudge", lambda *nudge: told.append(nudge))
    metric = {"name": "loss", "value": 1, "step": 1, "timestamp": 1000}
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            post(metric)
    assert told == [(group_of_run(run.pk), "metrics", "api")]
