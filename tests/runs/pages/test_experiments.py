"""The pages of experiments: the list, the best run by a metric, the newest runs, description."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.experiments import EXPERIMENTS_ON_A_PAGE
from runs.models import MetricSeries, Run
from runs.selectors import PAGE
from runs.states import RunStatus
from tests.factories import make_run, make_team
from workspace.models import AuditEntry, Experiment, Team
from workspace.templatetags.ui import NOTHING

LIST = "/t/default/experiments/"
ODD_NAME = "50% of a/b ?#&<b>"


@pytest.fixture
def page(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


@pytest.fixture
def experiment(team: Team) -> Experiment:
    return Experiment.objects.create(team=team, name=ODD_NAME)


@pytest.fixture
def address(experiment: Experiment) -> str:
    return f"{LIST}{experiment.pk}/"


def measured(experiment: Experiment, value: float | None, process: str = "", **fields: Any) -> Run:
    """Make a run whose loss was last `value`."""
    run = make_run(experiment.team, status=RunStatus.COMPLETED, experiment=experiment, **fields)
    measure(run, value, process)
    return run


def measure(run: Run, value: float | None, process: str = "", name: str = "loss") -> None:
    MetricSeries.objects.create(run=run, process=process, name=name, last_step=1, last_value=value)


def best_of(page: Client, address: str, goal: str = "lowest", metric: str = "loss") -> str:
    """Return the part of the page that shows the best run."""
    text = page.get(address, {"metric": metric, "goal": goal}).text
    return text.partition('aria-labelledby="best"')[2].partition("</section>")[0]


def test_the_list_shows_each_with_its_runs_and_leaves_out_what_does_not_count(
    page: Client, team: Team, experiment: Experiment
) -> None:
    make_run(team, experiment=experiment, status=RunStatus.FAILED)
    make_run(team, experiment=experiment, status=RunStatus.COMPLETED)
    make_run(team, experiment=experiment, archived_at=timezone.now())
    make_run(team, experiment=experiment, deleted_at=timezone.now())
    text = page.get(LIST).text
    assert "50% of a/b ?#&amp;&lt;b&gt;" in text
    assert '<td data-label="Runs" class="number">2</td>' in text
    assert text.index("/runs/2/") < text.index("/runs/1/")
    assert "/runs/3/" not in text
    assert "/runs/4/" not in text


def test_a_team_without_experiments_is_told_how_they_come_about(
    page: Client, client: Client, team: Team, vera: User
) -> None:
    text = page.get(LIST).text
    assert "A new name creates one." in text
    assert text.count("/runs/new/") == 3  # the sidebar, the top bar and the next step
    client.force_login(vera)
    assert "/runs/new/" not in client.get(LIST).text


def test_the_list_has_pages(page: Client, team: Team) -> None:
    for number in range(EXPERIMENTS_ON_A_PAGE + 1):
        Experiment.objects.create(team=team, name=f"number {number:02}")
    first = page.get(LIST)
    assert "number 00" not in first.text
    assert "number 00" in page.get(LIST + first.context["older"]).text
    assert "Use the cursor of the previous page." in page.get(f"{LIST}?cursor=x").text


def test_the_best_run_is_the_one_with_the_lowest_or_highest_last_value(
    page: Client, experiment: Experiment, address: str
) -> None:
    for value in (0.5, 1.5e-7, None, 0.25):
        measured(experiment, value)
    lowest, highest = best_of(page, address), best_of(page, address, "highest")
    assert "1.5e-07" in lowest
    assert "/runs/2/" in lowest
    assert "/runs/1/" in highest


def test_of_equals_the_first_is_best_and_of_processes_the_best_counts(
    page: Client, experiment: Experiment, address: str
) -> None:
    measured(experiment, 0.5)
    measured(experiment, 0.5)
    assert "/runs/1/" in best_of(page, address)
    run = measured(experiment, 0.9, "worker-0")
    measure(run, 0.1, "worker-1")
    assert "/runs/3/" in best_of(page, address)
    assert ">0.1<" in best_of(page, address)


def test_archived_and_deleted_runs_are_never_best(
    page: Client, team: Team, experiment: Experiment, address: str
) -> None:
    measured(experiment, 0.1, archived_at=timezone.now())
    measured(experiment, 0.2, deleted_at=timezone.now())
    measured(experiment, 0.9)
    other = Experiment.objects.create(team=team, name="other")
    measured(other, 0.0)
    assert "/runs/3/" in best_of(page, address)


def test_the_address_keeps_metric_and_goal_from_page_to_page(
    page: Client, experiment: Experiment, address: str
) -> None:
    for value in range(PAGE + 1):
        measured(experiment, value)
    first = page.get(address, {"metric": "loss", "goal": "highest"})
    assert first.context["older"].startswith("?metric=loss&goal=highest&cursor=")
    second = page.get(address + first.context["older"])
    assert [row["run"].number for row in second.context["rows"]] == [1]
    assert "<option selected>loss</option>" in second.text
    assert '<option value="highest" selected>' in second.text
    assert f"/runs/{PAGE + 1}/" in second.text  # the best is of all pages


def test_the_newest_runs_show_their_last_value(
    page: Client, experiment: Experiment, address: str
) -> None:
    measured(experiment, 0.03125)
    make_run(experiment.team, experiment=experiment)
    text = page.get(address, {"metric": "loss"}).text
    newest = text.partition('aria-labelledby="newest"')[2]
    assert '<td data-label="loss" class="number">0.03125</td>' in newest
    assert f'<td data-label="loss" class="number">{NOTHING}</td>' in newest
    assert 'data-label="loss"' not in page.get(address).text


@pytest.mark.parametrize("metric", ["nothing", "<b>"])
def test_a_metric_that_no_run_has_says_so(
    page: Client, experiment: Experiment, address: str, metric: str
) -> None:
    measured(experiment, 1.0)
    assert "No run of this experiment has a value of" in best_of(page, address, metric=metric)


def test_members_change_the_description(page: Client, experiment: Experiment, address: str) -> None:
    answer = page.post(f"{address}change/", {"description": "What <b>units</b> do."}, follow=True)
    assert "What &lt;b&gt;units&lt;/b&gt; do." in answer.text
    assert "What &lt;b&gt;units" in page.get(LIST).text
    assert AuditEntry.objects.get(action="experiment.change").subject == ODD_NAME
    refused = page.post(f"{address}change/", {"description": "x" * 10_001})
    assert refused.status_code == 422
    assert "Use text of at most 10,000 characters." in refused.text


def test_viewers_read_and_others_find_nothing(
    client: Client, experiment: Experiment, address: str, vera: User, charlie: User
) -> None:
    client.force_login(vera)
    assert "Change the description" not in client.get(address).text
    assert client.post(f"{address}change/", {"description": "x"}).status_code == 403
    make_team("others", admin=charlie)
    client.force_login(charlie)
    assert client.get(address).status_code == 404
    assert client.get(f"/t/others/experiments/{experiment.pk}/").status_code == 404
    changed = client.post(f"/t/others/experiments/{experiment.pk}/change/", {"description": "x"})
    assert changed.status_code == 404


def test_more_experiments_and_runs_take_no_more_queries(
    page: Client, team: Team, experiment: Experiment, address: str
) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert page.get(path).status_code == 200
        return len(captured)

    def add() -> None:
        measured(experiment, 1.0)
        other = Experiment.objects.create(team=team, name=f"n{Experiment.objects.count()}")
        measured(other, 1.0)

    paths = (LIST, f"{address}?metric=loss")
    add()
    for path in paths:
        queries(path)  # what is read once only
    few = [queries(path) for path in paths]
    for _ in range(5):
        add()
    assert [queries(path) for path in paths] == few
