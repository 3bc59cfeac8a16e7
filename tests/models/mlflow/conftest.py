import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.models.mlflow.protocol import MlflowCaller
from workspace.models import Team


@pytest.fixture
def mlflow(client: Client, bob: User, team: Team) -> MlflowCaller:
    return MlflowCaller(client, bob)
