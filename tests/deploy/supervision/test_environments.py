"""Which image serves a model where there are containers, and what takes its place."""

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from deploy.config import ServiceResources
from deploy.framework_versions import image_of
from deploy.models import Revision
from deploy.services import deploy
from deploy.supervision.environments import environment_for
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from tests.factories import make_target
from workspace.compute.environment_spec import ModelServerKind
from workspace.models import Environment, EnvironmentState, Team

pytestmark = pytest.mark.django_db
GONE = "The registry of the image tensorflow/serving:2.21.0 cannot be reached from the engine."


@pytest.fixture
def revision(team: Team, bob: User, register: RegisterModel) -> Revision:
    engine = make_target(team, "engine", kind="docker", address="unix:///no/such.sock", pool="far")
    deploy(team=team, by=bob, name="digits", version=register(), target=engine)
    return Revision.objects.get()


def with_version(version: ModelVersion, framework_version: str) -> ModelVersion:
    version.framework_version = framework_version
    return version


@pytest.mark.parametrize(
    ("framework_version", "gpu", "image"),
    [
        ("2.21", False, "tensorflow/serving:2.21.0"),
        ("2.15", False, "tensorflow/serving:2.15.1"),
        ("2.15.0", False, "tensorflow/serving:2.15.0"),
        ("2.15", True, "tensorflow/serving:2.15.1-gpu"),
    ],
)
def test_the_image_is_that_of_the_models_version(
    revision: Revision, framework_version: str, gpu: bool, image: str
) -> None:
    version = with_version(revision.model_version, framework_version)
    assert image_of(version, gpu=gpu) == image


def test_an_installation_may_name_an_image_of_its_own(
    revision: Revision, settings: Settings
) -> None:
    settings.TRAINYARD_SERVING_IMAGE = "mirror:5000/serving:v{version}-cpu"
    spec = environment_for(revision).spec
    assert spec["image"] == "mirror:5000/serving:v2.21.0-cpu"
    assert spec["server"] == ModelServerKind.IMAGE
    assert spec["packages"] == []


def test_an_installation_may_have_our_own_server_at_once(
    revision: Revision, settings: Settings
) -> None:
    settings.TRAINYARD_SERVING_IMAGE = "none"
    spec = environment_for(revision).spec
    assert (spec["image"], spec["server"]) == ("", ModelServerKind.OWN)
    assert "tensorflow-serving-api==2.21.0" in spec["packages"]
    revision.refresh_from_db()
    assert revision.notice == ""


def fail(environment: Environment) -> None:
    environment.state, environment.error = EnvironmentState.FAILED, f"{GONE}\nwith more words"
    environment.save()


def test_our_own_server_takes_the_place_of_an_image_that_cannot_be_had_and_keeps_it(
    revision: Revision,
) -> None:
    fail(environment_for(revision))
    own = environment_for(revision)
    assert own.spec["server"] == ModelServerKind.OWN
    revision.refresh_from_db()
    assert revision.notice.endswith(GONE)
    # Also when the image can be had again: the revision is what it says it is.
    Environment.objects.exclude(pk=own.pk).update(state=EnvironmentState.PENDING)
    assert environment_for(revision) == own


def test_where_no_other_server_may_take_its_place_the_image_is_waited_for(
    revision: Revision, settings: Settings
) -> None:
    settings.TRAINYARD_SERVING_FALLBACK = False
    environment = environment_for(revision)
    fail(environment)
    assert environment_for(revision) == environment
    revision.refresh_from_db()
    assert revision.notice == ""


def test_gpus_ask_for_the_image_with_gpus(revision: Revision) -> None:
    revision.resources = ServiceResources(gpu=1).to_json()
    assert environment_for(revision).spec["image"] == "tensorflow/serving:2.21.0-gpu"
