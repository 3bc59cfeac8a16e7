"""A list asks the database as often for many rows as for few."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from deploy.models import Revision, Service
from models.models import ModelVersion, RegisteredModel
from runs.models import Run
from runs.states import RunStatus
from tests.factories import bearer, make_environment, make_run, make_target, make_user
from workspace.models import Team

pytestmark = pytest.mark.django_db
API = "/api/v1/teams/default"
LISTS = [
    "/t/default/",
    "/t/default/experiments/",
    "/t/default/services/",
    "/t/default/runs/",
    "/t/default/environments/",
    "/t/default/models/",
    "/t/default/models/digits-1/",
    "/t/default/targets/",
    f"{API}/services",
    f"{API}/runs",
    f"{API}/experiments",
    f"{API}/environments",
    f"{API}/models",
    f"{API}/targets",
]


def add_one_of_each(team: Team, number: int) -> None:
    """Add a run and a service, each of a user, target, experiment, model and environment."""
    user = make_user()
    target = make_target(team, f"target-{number}")
    run = make_run(team, user, RunStatus.RUNNING, target=target, environment=make_environment())
    model = RegisteredModel.objects.create(team=team, name=f"digits-{number}")
    for served in {model, RegisteredModel.objects.get(team=team, name="digits-1")}:
        version = ModelVersion.objects.create(
            model=served,
            version=number,
            run=run,
            framework_version="2.21",
            file_count=1,
            total_bytes=1,
            created_by=user,
        )
        service = Service.objects.create(
            team=team, name=f"{served.name}-at-{number}", target=target, created_by=user
        )
        for revision in (1, 2):
            Revision.objects.create(service=service, number=revision, model_version=version)


def queries_of(client: Client, path: str, headers: dict[str, str]) -> tuple[int, str]:
    with CaptureQueriesContext(connection) as captured:
        response = client.get(path, headers=headers)
    assert response.status_code == 200, path
    return len(captured), response.content.decode()


@pytest.mark.parametrize("path", LISTS)
def test_a_longer_list_takes_no_more_queries(
    client: Client, team: Team, alice: User, path: str
) -> None:
    headers = bearer(alice) if path.startswith(API) else {}
    if not headers:
        client.force_login(alice)
    add_one_of_each(team, 1)
    queries_of(client, path, headers)  # what is read once only
    few, short = queries_of(client, path, headers)
    for number in range(2, 12):
        add_one_of_each(team, number)
    assert Run.objects.count() == 11
    many, long = queries_of(client, path, headers)
    assert many == few
    assert len(long) > len(short)
