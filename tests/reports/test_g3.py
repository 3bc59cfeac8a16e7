"""G3: the name of an experiment leads back to its runs, blanks at its ends included."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from runs.models import Run
from tests.factories import bearer, make_run
from tests.runs.conftest import backend, submit
from tests.runs.supervision.supervised_runs import Submit
from workspace.models import Experiment, Team
from workspace.platform.errors import Invalid

__all__ = ["backend", "submit"]

pytestmark = pytest.mark.django_db
NAMES = [
    " leading blank",
    "trailing blank ",
    "\u00a0no-break blanks\u2003",
    "two  blanks",
    "a/b#c?d&e=f%20g+h",
    "'\"<b>",
    "Gr\u00f6\u00dfe",
    "\u062a\u062c\u0631\u0628\u0629",
    "x" * 100,
]


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_run_lead_back_to_exactly_its_runs(
    client: Client, submit: Submit, team: Team, bob: User, name: str
):
    run, _ = submit(experiment=name), submit(experiment="another")
    client.force_login(bob)
    assert run.experiment.name == name.strip()
    runs = f"/t/{team.slug}/runs/"
    links = re.findall(r'href="[^"]*(\?experiment=[^"]*)"', client.get(runs).content.decode())
    found = [client.get(runs + unescape(link)).context["rows"] for link in links]
    assert [run] in [[row["run"] for row in rows] for rows in found]
    page = client.get(reverse("runs:logs", args=[team.slug, run.number])).content.decode()
    experiments = re.findall(r'href="([^"]*/experiments/\d+/)"', page)
    of_experiments = [client.get(link).context["rows"] for link in experiments]
    assert [run] in [[row["run"] for row in rows] for rows in of_experiments]


@pytest.mark.parametrize("name", NAMES)
def test_the_filter_finds_experiments_that_were_named_before_blanks_were_taken_off(
    client: Client, team: Team, bob: User, name: str
):
    run = make_run(team, bob, experiment=Experiment.objects.create(team=team, name=name))
    make_run(team, bob, experiment=Experiment.objects.create(team=team, name=name.strip()[1:]))
    client.force_login(bob)
    page = client.get(f"/t/{team.slug}/runs/", {"experiment": name})
    assert [row["run"].number for row in page.context["rows"]] == [run.number]
    chosen = re.findall(r'<option value="([^"]*)" selected', page.content.decode())
    assert [unescape(value) for value in chosen] == [name]
    answer = client.get(
        f"/api/v1/teams/{team.slug}/runs", {"experiment": name}, headers=bearer(bob)
    )
    assert [each["number"] for each in answer.json()["runs"]] == [run.number]


def test_names_that_differ_in_blanks_at_their_ends_are_one_experiment(submit: Submit):
    runs = [submit(experiment=name) for name in ("digits", " digits", "digits  ")]
    assert len({run.experiment_id for run in runs}) == 1


@pytest.mark.parametrize("name", ["", " ", "\u00a0\u2003"])
def test_a_name_of_blanks_alone_is_refused(submit: Submit, name: str):
    with pytest.raises(Invalid) as refused:
        submit(experiment=name)
    assert [error.field for error in refused.value.errors] == ["experiment"]
    assert not Run.objects.exists()
