"""Report B4: a checkpoint that is named by an absolute path is warned of when a run resumes."""

import hashlib
import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.models import Run, RunFile
from runs.states import RunStatus
from tests.factories import bearer, make_group, make_run
from tests.runs.source.archive_builders import tar_gz_of
from workspace.models import Team

pytestmark = pytest.mark.django_db
ABSOLUTE = (
    'model_checkpoint_path: "/mnt/job/outputs/model-10"\n'
    'all_model_checkpoint_paths: "/mnt/job/outputs/model-10"\n'
)
RELATIVE = 'model_checkpoint_path: "model-10"\nall_model_checkpoint_paths: "model-10"\n'


@pytest.fixture
def earlier(team: Team, bob: User) -> Run:
    return make_run(team, bob, RunStatus.COMPLETED)


def leave(run: Run, home: Path, path: str, content: str) -> None:
    place = home / "runs" / str(run.pk) / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    RunFile.objects.create(
        run=run,
        path=path,
        process=make_group(run).processes.get(),
        size_bytes=len(content),
        digest=hashlib.sha256(content.encode()).hexdigest(),
    )


@pytest.mark.parametrize(
    ("path", "content", "is_warned"),
    [
        ("outputs/checkpoint", ABSOLUTE, True),
        ("outputs/deep/model/checkpoint", ABSOLUTE, True),
        ("outputs/checkpoint", RELATIVE, False),
        ("outputs/notes", ABSOLUTE, False),
        ("outputs/checkpoint", "", False),
    ],
)
def test_b4_a_resumed_run_is_warned_of_absolute_checkpoints(
    client: Client, bob: User, earlier: Run, home: Path, path: str, content: str, is_warned: bool
) -> None:
    leave(earlier, home, path, content)
    config = {"experiment": "x", "entry_script": "train.py", "resume_from": earlier.number}
    source = SimpleUploadedFile("source.tar.gz", tar_gz_of({"train.py": b"print(1)\n"}))
    submitted = client.post(
        "/api/v1/teams/default/runs",
        {"source": source, "config": json.dumps(config)},
        headers=bearer(bob),
    )
    assert submitted.status_code == 201, submitted.content
    warnings = [w for w in submitted.json()["warnings"] if w["field"] == "resume_from"]
    assert [w["path"] for w in warnings] == ([path] if is_warned else [])
    if is_warned:
        assert "/mnt/job/outputs/model-10" in warnings[0]["message"]
        assert "save_relative_paths=True" in warnings[0]["remedy"]
