"""Models that other versions of TensorFlow made: served by the next newer one that is offered."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from deploy.framework_versions import image_of
from deploy.models import Revision
from deploy.supervision.environments import environment_for
from models.frameworks import tensorflow_release_for
from models.models import ModelVersion
from tests.factories import bearer, make_target
from tests.models.saved_models import model_files
from tests.reports.test_registration import upload
from workspace.models import EnvironmentState, Team

SERVICES = "/api/v1/teams/default/services"

SERVED_WITH = {
    "1.13.1": "2.15",
    "2.0": "2.15",
    "2.3.0": "2.15",
    "2.4.0-dev20200910": "2.15",
    "2.15.0": "2.15",
    "2.15.1": "2.15",
    "2.16.0-rc1": "2.21",
    "2.18.0": "2.21",
    "2.21.0": "2.21",
    "2.22.0-dev20270101": "2.21",
    "30.1": "2.21",
    "": "2.21",
    "unknown": "2.21",
    "2": "2.21",
}


@pytest.mark.parametrize(("version", "release"), SERVED_WITH.items())
def test_d8_the_next_newer_release_that_is_offered_serves(version: str, release: str) -> None:
    assert tensorflow_release_for(version) == release


def deploy(client: Client, by: User, target: str = "local") -> Any:
    data = {"name": "digits", "model": "m:1", "target": target}
    return client.post(SERVICES, data, content_type="application/json", headers=bearer(by))


@pytest.mark.parametrize(
    ("saved_with", "release", "said"),
    [
        ("1.13.1", "2.15", "registered for TensorFlow 1.13.1; it is served with TensorFlow 2.15.1"),
        ("2.3.0", "2.15", "the next newer one that is offered here"),
        ("2.18.0", "2.21", "registered for TensorFlow 2.18.0; it is served with TensorFlow 2.21.0"),
        ("2.4.0-dev20200910", "2.15", "it is served with TensorFlow 2.15.1"),
        ("2.99.0", "2.21", "newer than any that is offered here. It is tried with"),
        ("", "2.21", "It is not known which TensorFlow wrote m:1"),
    ],
)
def test_d8_a_model_of_another_tensorflow_is_deployed_at_once(
    client: Client, bob: User, team: Team, saved_with: str, release: str, said: str
) -> None:
    make_target(team)
    version = upload(client, bob, model_files(version=saved_with)).json()
    assert version["saved_with"] == version["framework_version"] == saved_with
    answer = deploy(client, bob)
    assert answer.status_code == 201, answer.content
    assert said in answer.json()["revisions"][0]["notice"]
    assert environment_for(Revision.objects.get()).spec["framework_version"] == release


def test_d8_what_the_file_says_stays_on_the_page(client: Client, bob: User, team: Team) -> None:
    files = model_files(version="2.4.0-dev20200910")
    version = upload(client, bob, files, framework_version="2.0").json()
    assert (version["framework_version"], version["saved_with"]) == ("2.0", "2.4.0-dev20200910")
    client.force_login(bob)
    page = client.get("/t/default/models/m/versions/1/").content.decode()
    assert "TensorFlow 2.0 (saved with 2.4.0-dev20200910)" in page


@pytest.mark.parametrize(
    ("framework_version", "image"),
    [
        ("1.13.1", "tensorflow/serving:1.13.1"),
        ("2.0", "tensorflow/serving:2.0.0"),
        ("2.18.0", "tensorflow/serving:2.18.0"),
        ("2.15", "tensorflow/serving:2.15.1"),
        ("2.4.0-dev20200910", "tensorflow/serving:2.15.1"),
    ],
)
def test_d8_containers_have_the_image_of_that_very_version(
    framework_version: str, image: str
) -> None:
    assert image_of(ModelVersion(framework_version=framework_version), gpu=False) == image


def test_d8_with_containers_the_fallback_alone_says_that_it_is_another_release(
    client: Client, bob: User, team: Team
) -> None:
    make_target(team, "engine", kind="docker", address="unix:///no/such.sock", pool="far")
    upload(client, bob, model_files(version="2.3.0"))
    assert deploy(client, bob, "engine").json()["revisions"][0]["notice"] == ""
    image = environment_for(Revision.objects.get())
    assert image.spec["image"] == "tensorflow/serving:2.3.0"
    image.state, image.error = EnvironmentState.FAILED, "There is no such image."
    image.save()
    assert environment_for(Revision.objects.get()).spec["framework_version"] == "2.15"
    notice = Revision.objects.get().notice
    assert "it is served with TensorFlow 2.15.1" in notice
    assert notice.endswith("There is no such image.")


def test_d8_an_installation_without_images_says_it_at_once(
    client: Client, bob: User, team: Team, settings: Settings
) -> None:
    settings.TRAINYARD_SERVING_IMAGE = "none"
    make_target(team, "engine", kind="docker", address="unix:///no/such.sock", pool="far")
    upload(client, bob, model_files(version="2.3.0"))
    notice = deploy(client, bob, "engine").json()["revisions"][0]["notice"]
    assert "it is served with TensorFlow 2.15.1" in notice


def test_d8_a_version_that_no_column_holds_is_cut(client: Client, bob: User, team: Team) -> None:
    version = upload(client, bob, model_files(version="2.3.0" + "x" * 500)).json()
    assert len(version["framework_version"]) == 32
    assert len(version["saved_with"]) == 64
