"""What people see at the tracking URI."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from workspace.models import Experiment, Team

pytestmark = pytest.mark.django_db


def test_the_page_says_how_to_log_and_knows_where_links_lead(
    client: Client, vera: User, team: Team
) -> None:
    client.force_login(vera)
    page = client.get("/mlflow/default/").text
    assert "MLFLOW_TRACKING_URI=http://testserver/mlflow/default\n" in page
    default = Experiment.objects.get(team=team, name="Default")
    assert f'data-default-experiment="/t/default/experiments/{default.pk}/"' in page
    assert 'data-runs="/t/default/runs/"' in page
    assert "js/mlflow-link.js" in page


def test_strangers_see_no_page(client: Client, charlie: User, team: Team) -> None:
    assert client.get("/mlflow/default/").status_code == 302
    client.force_login(charlie)
    assert client.get("/mlflow/default/").status_code == 404


def test_version_and_health_are_plain_text(client: Client, team: Team) -> None:
    assert client.get("/mlflow/default/health").text == "OK"
    assert client.get("/mlflow/default/version").text.count(".") == 2
