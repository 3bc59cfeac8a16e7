"""Two who start the same group on an engine take nothing away from each other."""

from unittest.mock import MagicMock

import pytest
from docker.errors import APIError
from requests import Response

from runner.constants import TOKEN_VARIABLE, URL_VARIABLE
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, GroupPlan, ProcessPlan
from workspace.compute.docker.backend import DockerBackend
from workspace.compute.engine.client import Engine

RUNNER = {URL_VARIABLE: "http://trainyard.example", TOKEN_VARIABLE: "t"}
PLAN = GroupPlan("run-1-1", "image", (ProcessPlan("worker", 0, RUNNER),))


def refusal(status: int, words: str) -> APIError:
    response = Response()
    response.status_code = status
    return APIError(words, response, words)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """An engine on which nothing was to be seen a moment ago."""
    client = MagicMock()
    client.api.containers.return_value = []
    client.networks.list.return_value = []
    monkeypatch.setattr(Engine, "client", lambda engine: client)
    return client


@pytest.fixture
def docker(tmp_path: object) -> DockerBackend:
    access = TargetAccess(home=str(tmp_path), installation="test", address="tcp://192.0.2.1:2376")
    return DockerBackend(access)


@pytest.mark.parametrize("made", ["networks", "containers"])
def test_what_another_made_first_is_left_to_the_next_call(
    docker: DockerBackend, client: MagicMock, made: str
) -> None:
    getattr(client, made).create.side_effect = refusal(409, "The name is in use.")
    with pytest.raises(BackendError) as raised:
        docker.start(PLAN)
    assert raised.value.retryable
    client.api.remove_container.assert_not_called()


def test_what_cannot_be_started_leaves_nothing(docker: DockerBackend, client: MagicMock) -> None:
    client.containers.create.side_effect = refusal(400, "No such device.")
    network = MagicMock()
    client.networks.list.return_value = [network]
    with pytest.raises(BackendError) as raised:
        docker.start(PLAN)
    assert not raised.value.retryable
    network.remove.assert_called_once()
