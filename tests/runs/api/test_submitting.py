"""What is sent again, or twice, when a run is submitted over REST."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.models import Run
from tests.factories import bearer, make_target
from tests.runs.source.archive_builders import tar_gz_of
from workspace.models import Team

CONFIG = {"experiment": "digits", "entry_script": "train.py", "script_params": {"--rate": 0.1}}

Send = Callable[..., Any]


@pytest.fixture
def send(bob: User, team: Team, broker: object) -> Send:
    make_target(team)
    client = Client(headers=bearer(bob))

    def send(
        key: str,
        config: object = CONFIG,
        script: bytes = b"print('training')",
        status: int = 201,
    ) -> Any:
        form = {
            "source": SimpleUploadedFile("app.tar.gz", tar_gz_of({"train.py": script})),
            "config": config if isinstance(config, str) else json.dumps(config),
        }
        headers = {"Idempotency-Key": key}
        answer = client.post(f"/api/v1/teams/{team.slug}/runs", form, headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json()

    return send


@pytest.mark.parametrize("key", ["a", "é", "x" * 1000])
def test_the_same_request_with_the_same_key_gives_the_same_run(send: Send, key: str):
    assert send(key)["number"] == send(key)["number"]


def test_a_request_of_before_an_update_still_gives_the_same_run(send: Send):
    number = send("a")["number"]
    run = Run.objects.get()
    del run.config["tags"]
    run.save(update_fields=["config"])
    assert send("a")["number"] == number


def test_without_a_key_each_request_is_a_run(send: Send):
    assert send("")["number"] != send("")["number"]


def test_keys_that_differ_anywhere_are_keys_of_different_runs(send: Send):
    assert send("x" * 1000 + "1")["number"] != send("x" * 1000 + "2")["number"]


@pytest.mark.parametrize(
    "other",
    [
        {"config": CONFIG | {"experiment": "letters"}},
        {"config": CONFIG | {"script_params": {"--rate": 0.2}}},
        {"config": {"experiment": "digits"}},
        {"script": b"print('something else')"},
    ],
)
def test_a_key_that_was_used_for_another_run_is_refused(send: Send, other: dict[str, Any]):
    number = send("a")["number"]

    detail = send("a", **other, status=409)["detail"]

    assert f"Run {number} was submitted with this Idempotency-Key" in detail
    assert "Use a new key" in detail


@pytest.mark.parametrize(
    "config",
    [
        '{"experiment": "a", "entry_script": "train.py", "experiment": "b"}',
        '{"experiment": "a", "entry_script": "train.py", "script_params": {"--x": 1, "--x": 2}}',
    ],
)
def test_a_field_that_is_there_twice_is_refused(send: Send, config: str):
    [error] = send("", config, status=400)["errors"]

    assert error["field"] == "config"
    assert "is there twice" in error["message"]
