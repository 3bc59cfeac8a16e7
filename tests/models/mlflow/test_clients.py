"""Unmodified clients of MLflow 2 and 3, against a live server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from runs.models import Run, RunFile
from runs.states import RunStatus
from tests.browser import rows_beside_a_browser
from tests.factories import make_team, make_token
from tests.modelserver import environment as environments
from workspace.models import Scope, Team

__all__ = ["rows_beside_a_browser"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.usefixtures("broker", "rows_beside_a_browser"),
]
PROGRAM = Path(__file__).with_name("client_program.py")


def client_python(version: str) -> Path:
    """Return the Python of an environment with a client, made once."""
    environment = environments.test_cache() / f"mlflow-{version}"
    mark = environment / ".complete"
    python = environment / "bin" / "python"
    with environments.locked(environments.test_cache() / f"mlflow-{version}.lock"):
        if not mark.exists():
            uv = shutil.which("uv")
            assert uv, "uv is needed to install MLflow's clients"
            shutil.rmtree(environment, ignore_errors=True)
            for command in (
                ["venv", "--quiet", "--python", "3.11", str(environment)],
                ["pip", "install", "--quiet", "--python", str(python), f"mlflow-skinny=={version}"],
            ):
                subprocess.run([uv, *command], check=True)
            mark.touch()
    return python


@pytest.mark.parametrize("version", ["2.22.5", "3.17.2"])
def test_a_client_does_all_that_tracking_needs(
    live_server: LiveServer, team: Team, bob: User, charlie: User, tmp_path: Path, version: str
) -> None:
    make_team("others", admin=charlie)
    done = subprocess.run(
        [client_python(version), PROGRAM],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "MLFLOW_TRACKING_URI": f"{live_server.url}/mlflow/default",
            "MLFLOW_TRACKING_TOKEN": make_token(bob, Scope.WRITE),
            "READER_TOKEN": make_token(bob, Scope.READ),
            "EXPIRED_TOKEN": make_token(bob, days=-1),
            "STRANGERS_TOKEN": make_token(charlie),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "DO_NOT_TRACK": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as it should be" in done.stdout
    assert Run.objects.filter(team=team, status=RunStatus.FAILED).count() == 1
    assert RunFile.objects.filter(path="outputs/mlflow/odd/a+b.txt").exists()
