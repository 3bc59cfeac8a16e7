"""The logs of services, over REST and live."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from deploy.services import stop
from tests.deploy.conftest import RegisterModel, ServiceStack
from tests.factories import make_token
from tests.waiting import wait_for

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
LOGS = "/api/v1/teams/default/services/digits/logs/"


def get(web: str, path: str, user: User) -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(web).netloc, timeout=20)
    connection.request("GET", path, headers={"Authorization": f"Bearer {make_token(user)}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_a_replicas_log_is_read_searched_and_followed(
    stage: ServiceStack, web: str, register: RegisterModel, charlie: User, vera: User
) -> None:
    service, _ = stage.healthy(register())
    said = (200, b"serving digits 1\n")
    wait_for(lambda: get(web, f"{LOGS}server-0", vera) == said, "the log to arrive")
    lines = json.loads(get(web, f"{LOGS}server-0/lines", vera)[1])
    assert lines["lines"] == ["serving digits 1"]
    found = json.loads(get(web, f"{LOGS}server-0/search?q=DIGITS", vera)[1])
    assert found["matches"] == [{"line": 0, "text": "serving digits 1"}]
    assert get(web, f"{LOGS}server-7", vera)[0] == 404
    assert get(web, f"{LOGS}server-0", charlie)[0] == 404
    address = web.replace("http", "ws") + '/ws/teams/default/services/digits/?offsets={"*":0}'
    bearer = {"Authorization": f"Bearer {make_token(vera)}"}
    with connect(address, additional_headers=bearer) as watcher:
        seen: dict[str, Any] = {}
        while "log" not in seen:
            message = json.loads(watcher.recv(timeout=20))
            seen[message["type"]] = message
        assert seen["service.status"]["state"] == "Healthy"
        assert seen["service.status"]["replicas"][0]["name"] == "server-0"
        assert seen["log"]["text"] == "serving digits 1\n"
        stop(service=service, by=stage.by)
        stage.reconciler.tick()
        while message.get("state") != "Transitioning":
            message = json.loads(watcher.recv(timeout=20))
    stranger = {"Authorization": f"Bearer {make_token(charlie)}"}
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(address, additional_headers=stranger) as watcher,
    ):
        watcher.recv(timeout=20)
