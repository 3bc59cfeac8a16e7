"""Whether a model fits into the memory that is asked for it."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from deploy.memory_requirements import default_gb, memory_refusal, memory_warning
from deploy.models import Revision, Service
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from tests.factories import bearer
from workspace.models import ComputeTarget

pytestmark = pytest.mark.django_db
GB = 1000**3


@pytest.fixture
def version(register: RegisterModel, target: ComputeTarget) -> ModelVersion:
    """Return a version of 4 GB, as its row has it."""
    made = register()
    made.total_bytes = 4 * GB
    made.save(update_fields=["total_bytes"])
    return made


def deploy(client: Client, by: User, memory_gb: float) -> tuple[int, dict[str, Any]]:
    body = {"name": "digits", "model": "digits", "resources": {"memory_gb": memory_gb}}
    answer = client.post(
        "/api/v1/teams/default/services",
        json.dumps(body),
        content_type="application/json",
        headers=bearer(by),
    )
    return answer.status_code, answer.json()


def test_a_model_larger_than_the_memory_asked_for_is_refused_with_the_figures(
    client: Client, bob: User, version: ModelVersion
) -> None:
    status, answer = deploy(client, bob, 4)
    assert status == 400
    (error,) = answer["errors"]
    assert error["field"] == "resources.memory_gb"
    assert "4 GB of memory cannot hold the 4 GB of digits:1" in error["message"]
    assert "Give it 13 GB" in error["message"]
    assert not Service.objects.exists()


def test_a_model_that_may_not_fit_is_deployed_with_a_notice(
    client: Client, bob: User, version: ModelVersion
) -> None:
    status, answer = deploy(client, bob, 4.5)
    assert status == 201, answer
    notice = Revision.objects.get().notice
    assert "4.5 GB of memory may be too little for the 4 GB of digits:1" in notice
    assert "usually takes 5.8 GB" in notice


def test_what_is_given_by_default_is_neither_refused_nor_doubted(version: ModelVersion) -> None:
    for gigabytes in (0, 1, 10, 100):
        version.total_bytes = gigabytes * GB
        given = default_gb(version)
        assert (memory_refusal(version, given), memory_warning(version, given)) == ("", "")
    assert (memory_refusal(version, None), memory_warning(version, None)) == ("", "")
