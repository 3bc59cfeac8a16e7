"""The ways in that people use, for the tests of what they reported."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.factories import bearer, make_target
from tests.reports.ways_in import Submit
from tests.runs.source.archive_builders import tar_gz_of
from workspace.models import Team


@pytest.fixture
def submit(bob: User, team: Team, broker: object) -> Submit:
    """Submit a run by REST, with files as an archive, and return the answer."""
    make_target(team)
    client = Client(headers=bearer(bob))

    def submit(files: Mapping[str, bytes], status: int = 201, **config: object) -> Any:
        given = {"experiment": "digits", "entry_script": "train.py", **config}
        form = {
            "source": SimpleUploadedFile("app.tar.gz", tar_gz_of(files)),
            "config": json.dumps(given),
        }
        answer = client.post(f"/api/v1/teams/{team.slug}/runs", form)
        assert answer.status_code == status, answer.content
        return answer.json()

    return submit
