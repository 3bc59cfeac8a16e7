"""The engine that the other tests of this folder stand on."""

import pytest

from tests.docker.engine import BASE_IMAGE, Engine

pytestmark = pytest.mark.docker


def test_a_container_of_the_base_image_runs_python(engine: Engine) -> None:
    with engine.client() as client:
        said = client.containers.run(BASE_IMAGE, ["python", "-c", "print(6 * 7)"], remove=True)
        assert said == b"42\n"
