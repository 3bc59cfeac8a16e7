"""Runs beside each other, over REST and on the page."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.metrics import series as metrics
from runs.metrics import store
from runs.metrics.points import Point
from runs.models import MetricSeries, Run, Snapshot
from runs.search.parameters import store_parameters
from runs.source.blobs import store_for
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot
from tests.factories import bearer, make_environment, make_run, make_snapshot, make_team
from workspace.models import Team

pytestmark = pytest.mark.django_db
RUNS = "/api/v1/teams/default/runs"


def snapshot(team: Team, by: User, **files: bytes) -> Snapshot:
    entries = []
    for name, content in files.items():
        digest, size = store_for(team).put_stream(content)
        entries.append(ManifestEntry(f"{name}.py", digest, size))
    return create_snapshot(team=team, by=by, manifest=Manifest.of(entries))


@pytest.fixture
def runs(team: Team, bob: User) -> list[Run]:
    """Two runs of which some things differ, and a third one of another author's making."""
    sources = [
        snapshot(team, bob, train=b"lr = 0.1\nfit()\n", same=b"pass\n"),
        snapshot(team, bob, train=b"lr = 0.2\nfit()\n", same=b"pass\n", new=b"x = 1\n"),
    ]
    versions = [{"keras": "3.9"}, {"keras": "3.10"}]
    made = []
    for at, (source, packages) in enumerate(zip(sources, versions, strict=True)):
        run = make_run(
            team,
            bob,
            snapshot=source,
            environment=make_environment(packages=packages | {"numpy": "2.1"}),
            tags={"data": "mnist", "try": str(at)},
        )
        run.config |= {
            "script_params": {"--lr": 0.1 * (at + 1), "--epochs": 3, "--api-key": "sk-12345678901"},
            "node_count": 1 + at,
        }
        run.save(update_fields=["config"])
        store_parameters(run, run.config["script_params"])
        series_of(run, loss=0.5 - at / 4, accuracy=0.9)
        made.append(run)
    series_of(made[1], f1=None)
    return made


def series_of(run: Run, **values: float | None) -> None:
    for name, value in values.items():
        MetricSeries.objects.create(
            run=run, name=name, last_step=3, last_at=timezone.now(), last_value=value
        )


def rows(compared: dict[str, Any], part: str) -> dict[str, tuple[list[Any], bool]]:
    return {row["name"]: (row["values"], row["differs"]) for row in compared[part]}


def test_what_is_known_of_runs_is_returned_with_what_differs_first(
    client: Client, bob: User, runs: list[Run]
) -> None:
    compared = client.get(f"{RUNS}/compare?runs=2,1", headers=bearer(bob)).json()
    assert compared["runs"] == [2, 1]
    parameters = rows(compared, "parameters")
    assert list(parameters) == ["lr", "api-key", "epochs"]
    assert parameters["lr"] == (["0.2", "0.1"], True)
    assert parameters["epochs"] == (["3", "3"], False)
    metrics = rows(compared, "metrics")
    assert list(metrics) == ["f1", "loss", "accuracy"]
    assert metrics["f1"] == (["NaN", None], True)
    assert metrics["loss"] == ([0.25, 0.5], True)
    assert rows(compared, "tags")["try"] == (["1", "0"], True)
    assert rows(compared, "configuration")["node_count"] == ([2, 1], True)
    assert list(rows(compared, "environment").items()) == [
        ("keras", (["3.10", "3.9"], True)),
        ("numpy", (["2.1", "2.1"], False)),
    ]
    source = rows(compared, "source")
    assert [name for name, (_, differs) in source.items() if differs] == ["new.py", "train.py"]
    assert source["new.py"][0][1] is None


def test_a_metric_of_all_runs_is_returned_and_the_points_of_all_together_are_few(
    client: Client, bob: User, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_TOTAL_POINTS", 100)
    losses = MetricSeries.objects.filter(name="loss").values_list("pk", flat=True)
    store.append({key: [Point(step, 0, step % 7) for step in range(500)] for key in losses})
    address = f"{RUNS}/compare/metrics?runs=2,1"
    series = client.get(f"{address}&name=loss", headers=bearer(bob)).json()["series"]
    assert [(one["run"], one["name"], one["total"]) for one in series] == [
        (2, "loss", 500),
        (1, "loss", 500),
    ]
    assert 3 < sum(len(one["points"]) for one in series) <= 100
    names = client.get(f"{address}&names_only=true", headers=bearer(bob)).json()["series"]
    assert {one["name"] for one in names} == {"loss", "accuracy", "f1"}
    refused = client.get(address, headers=bearer(bob))
    assert refused.json()["errors"][0]["field"] == "name"


def test_viewers_do_not_see_what_looks_secret(client: Client, vera: User, runs: list[Run]) -> None:
    answer = client.get(f"{RUNS}/compare?runs=1,2", headers=bearer(vera))
    assert "sk-12345678901" not in answer.content.decode()
    client.force_login(vera)
    shown = client.get("/t/default/runs/compare/?runs=1,2").content.decode()
    assert "api-key" in shown
    assert "sk-12345678901" not in shown


@pytest.mark.parametrize(
    ("chosen", "status", "message"),
    [
        ("1", 400, "Choose 2 to 50 runs; these are 1."),
        ("", 400, "Choose 2 to 50 runs; these are 0."),
        ("1,1", 400, "these are 1."),
        ("1,two", 400, "'two' is not the number of a run"),
        (",".join(map(str, range(1, 52))), 400, "these are 51."),
        ("1,7", 404, "no run 7"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    client: Client, bob: User, runs: list[Run], chosen: str, status: int, message: str
) -> None:
    answer = client.get(f"{RUNS}/compare?runs={chosen}", headers=bearer(bob))
    assert answer.status_code == status
    assert message in answer.content.decode()
    client.force_login(bob)
    page = client.get(f"/t/default/runs/compare/?runs={chosen}")
    assert page.status_code == status


def test_another_team_s_runs_are_not_there(client: Client, charlie: User, runs: list[Run]) -> None:
    make_team("others", admin=charlie)
    assert client.get(f"{RUNS}/compare?runs=1,2", headers=bearer(charlie)).status_code == 404
    other = "/api/v1/teams/others/runs/compare?runs=1,2"
    assert client.get(other, headers=bearer(charlie)).status_code == 404


def test_the_page_shows_the_lines_in_which_the_source_of_two_runs_differs(
    client: Client, bob: User, team: Team, runs: list[Run]
) -> None:
    client.force_login(bob)
    shown = client.get("/t/default/runs/compare/?runs=1,2").content.decode()
    assert '<span class="removed">-lr = 0.1</span>' in shown
    assert '<span class="added">+lr = 0.2</span>' in shown
    assert "same.py" not in shown
    make_run(team, bob, snapshot=runs[0].snapshot)
    three = client.get("/t/default/runs/compare/?runs=1,2,3").content.decode()
    assert "2 files differ." in three


def test_a_file_that_is_no_text_is_told_so(client: Client, bob: User, team: Team) -> None:
    for content in (b"\0\1", b"\0\2"):
        make_run(team, bob, snapshot=snapshot(team, bob, weights=content))
    client.force_login(bob)
    assert "or no text" in client.get("/t/default/runs/compare/?runs=1,2").content.decode()


def test_a_tracked_run_is_compared_with_one_that_has_processes(
    client: Client, bob: User, team: Team, runs: list[Run]
) -> None:
    body = {"experiment": "digits", "name": "from a laptop"}
    sent = client.post(RUNS, body, content_type="application/json", headers=bearer(bob))
    assert sent.status_code == 201, sent.content
    compared = client.get(f"{RUNS}/compare?runs=1,3", headers=bearer(bob)).json()
    assert rows(compared, "configuration")["entry_script"] == (["train.py", None], True)
    client.force_login(bob)
    assert "from a laptop" in client.get("/t/default/runs/compare/?runs=1,3").content.decode()


def test_a_run_whose_source_is_lost_is_compared_without_it(
    client: Client, bob: User, team: Team, runs: list[Run]
) -> None:
    make_run(team, bob, snapshot=make_snapshot(team, bob))
    compared = client.get(f"{RUNS}/compare?runs=1,3", headers=bearer(bob)).json()
    assert rows(compared, "source")["train.py"][0][1] is None
    client.force_login(bob)
    assert client.get("/t/default/runs/compare/?runs=1,3").status_code == 200
