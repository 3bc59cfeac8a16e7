"""Environments as images on a real engine: what is in them, what is not, and what is built once."""

from collections.abc import Iterator

import pytest
from docker import DockerClient

from tests.docker.engine import BASE_IMAGE, Engine
from workspace.compute.access import TargetAccess
from workspace.compute.base import BuiltEnvironment
from workspace.compute.docker_images import EngineImages
from workspace.environments_spec import Curated, EnvironmentSpec

pytestmark = pytest.mark.docker

INSTALLATION = "imagetests"
DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small package stand for TensorFlow."""
    monkeypatch.setattr(Curated, "requirements", lambda self, *, gpu: ["six==1.17.0"])


@pytest.fixture
def client(engine: Engine) -> Iterator[DockerClient]:
    with engine.client() as client:
        yield client
        clear(client)


@pytest.fixture
def images(engine: Engine, client: DockerClient) -> Iterator[EngineImages]:
    images = EngineImages(access(engine))
    yield images
    images.close()


def access(engine: Engine, **fields: str) -> TargetAccess:
    return TargetAccess(
        home="",
        installation=INSTALLATION,
        address=engine.address,
        **{"base_image": BASE_IMAGE, **fields},
    )


def clear(client: DockerClient) -> None:
    label = {"label": f"trainyard.installation={INSTALLATION}"}
    for container in client.containers.list(all=True, filters=label):
        container.remove(force=True)
    for image in client.images.list(filters=label):
        client.images.remove(image.id, force=True)


def build(
    images: EngineImages, *packages: str, digest: str = DIGEST, **fields: object
) -> tuple[BuiltEnvironment, str]:
    """Build an environment and give it with its log."""
    said: list[bytes] = []
    spec = EnvironmentSpec.of("2.21", packages=packages, **fields)
    return images.prepare(digest, spec.to_json(), said.append), b"".join(said).decode()


def run(client: DockerClient, reference: str, *command: str) -> str:
    said: bytes = client.containers.run(reference, list(command), remove=True)
    return said.decode().strip()


def test_an_image_has_its_packages_and_runs_as_an_ordinary_user(
    images: EngineImages, client: DockerClient
) -> None:
    built, log = build(images, "iniconfig==2.0.0")
    assert built.packages == {"six": "1.17.0", "iniconfig": "2.0.0"}
    assert built.versions["Python"].startswith("3.11.")
    assert built.size_bytes > 10**6
    assert "iniconfig==2.0.0" in log
    assert images.has(built.reference)
    assert run(client, built.reference, "id", "-u") == "10001"
    told = run(
        client, built.reference, "python", "-c", "import six, iniconfig; print(six.__file__)"
    )
    assert told.startswith("/opt/environment/")
    images.discard(built.reference)
    images.discard(built.reference)
    assert not images.has(built.reference)
