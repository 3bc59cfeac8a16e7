"""Images that serve models, as they are built on a real engine."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.docker.cleaning import clear
from tests.docker.engine import BASE_IMAGE, Engine
from workspace.compute.access import TargetAccess
from workspace.compute.base import BuiltEnvironment, EnvironmentBuildFailed
from workspace.compute.environment_spec import EnvironmentSpec, ModelServerKind
from workspace.compute.images.engine_images import EngineImages
from workspace.compute.images.layers import MODEL_SERVER

pytestmark = pytest.mark.docker
INSTALLATION = "serverimages"
WITHOUT_PYTHON = f"""
apt-get purge -y -q --auto-remove 'python3*' 'libpython3*'
rm -f /usr/local/bin/python
printf '#!/bin/sh\\n' > /usr/bin/{MODEL_SERVER}
chmod 755 /usr/bin/{MODEL_SERVER}
! command -v python3
"""


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[Any]:
    with engine.client() as client:
        clear(client, INSTALLATION)
        yield client
        clear(client, INSTALLATION)


def build(engine: Engine, image: str) -> BuiltEnvironment:
    access = TargetAccess(home="", installation=INSTALLATION, address=engine.address)
    spec = EnvironmentSpec.of("2.21", image=image, server=ModelServerKind.IMAGE)
    images = EngineImages(access)
    try:
        return images.prepare("d" * 64, spec.to_json(), lambda chunk: None)
    finally:
        images.close()


def test_an_image_with_a_server_and_no_python_gets_one_for_the_runner(
    engine: Engine, client: Any
) -> None:
    made = client.containers.run(BASE_IMAGE, ["sh", "-ec", WITHOUT_PYTHON], detach=True)
    assert made.wait()["StatusCode"] == 0, made.logs()
    labels = [f"LABEL trainyard.installation={INSTALLATION}"]
    made.commit("ty-serverimages", "bare", changes=labels)
    made.remove()
    built = build(engine, "ty-serverimages:bare")
    assert built.versions["Python"].startswith("3.11.")
    assert "TensorFlow" not in built.versions
    where = ["sh", "-c", f"command -v {MODEL_SERVER}"]
    found = client.containers.run(built.reference, where, remove=True)
    assert found.decode().strip() == f"/usr/bin/{MODEL_SERVER}"


def test_an_image_without_a_server_is_refused_by_name(engine: Engine, client: Any) -> None:
    with pytest.raises(EnvironmentBuildFailed) as caught:
        build(engine, BASE_IMAGE)
    assert f"{BASE_IMAGE} cannot serve models: it has no {MODEL_SERVER}" in str(caught.value)
