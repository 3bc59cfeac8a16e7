"""A service whose installation was lost serves again where its backup is brought back."""

from pathlib import Path

import httpx
import pytest
from django.core.management import call_command
from pytest_django import Settings

from deploy.models import Service, ServiceState
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel, ServiceStack
from workspace.targets.backends import backend_for

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def scores(web: str, key: str) -> bool:
    answer = httpx.post(
        f"{web}/api/v1/teams/default/services/digits/score",
        json={"instances": [1.0]},
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    return answer.status_code == 200 and "predictions" in answer.json()


def test_a_service_scores_again_where_its_backup_is_brought_back(
    stage: ServiceStack,
    register: RegisterModel,
    web: str,
    home: Path,
    settings: Settings,
    tmp_path: Path,
) -> None:
    (home / "secret_key").write_text(settings.SECRET_KEY)
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    service, key = stage.healthy(register())
    assert scores(web, key)
    call_command("backup", str(tmp_path / "all.tar.gz"))
    for group in stage.target.groups.filter(removed_at=None):
        backend_for(stage.target).remove(group.label)

    stage.home = settings.TRAINYARD_HOME = tmp_path / "new"
    stage.home.mkdir()
    (stage.home / "secret_key").write_text(settings.SECRET_KEY)
    call_command("flush", interactive=False, verbosity=0)
    call_command("restore", str(tmp_path / "all.tar.gz"))

    stage.use_fake_server(ModelVersion.objects.get())
    service = Service.objects.get(name="digits")
    stage.wait(lambda: scores(web, key), service)
    stage.wait_for_state(service, ServiceState.HEALTHY)
