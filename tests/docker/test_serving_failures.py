"""Model servers in containers that misbehave, and services that are stopped and started."""

from collections.abc import Iterator

import pytest

from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import BASE_IMAGE
from tests.docker.serving import Serving, deploy, make_fake_serving_image, register
from tests.models.saved_models import model_files
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]
VERSION = "2.21.98"
IMAGE = f"tensorflow/serving:{VERSION}"


@pytest.fixture
def fake_image(docker_product: DockerProduct) -> Iterator[None]:
    with docker_product.engine.client() as client:
        make_fake_serving_image(client, BASE_IMAGE, IMAGE)
        yield
        client.images.remove(IMAGE)


def states(service: Serving) -> set[str]:
    return {replica["state"] for replica in service.get()["replicas"]}


@pytest.mark.usefixtures("fake_image")
def test_a_server_that_takes_more_than_its_memory_is_told_so_and_replaced(
    docker_product: DockerProduct,
) -> None:
    files = model_files() | {"behaviour": b"eats=400"}
    register(docker_product, files, "greedy", VERSION)
    service = deploy(docker_product, "greedy", TARGET, cpu=0.5, memory_gb=0.3)
    (first,) = service.get()["replicas"]
    service.score({"instances": ["eats"]})
    told = service.wait_for_replacement(first["name"])
    assert any("ran out of memory" in reason for reason in told), told
    assert any("Give the service more" in reason for reason in told), told
    service.delete()
    wait_for(lambda: docker_product.left() == [], "the end of all that the service left", 60)


@pytest.mark.usefixtures("fake_image")
def test_a_stopped_service_leaves_nothing_and_starts_again(docker_product: DockerProduct) -> None:
    product = docker_product
    register(product, model_files(), "calm", VERSION)
    service = deploy(product, "calm", TARGET, cpu=0.5, memory_gb=0.5)
    assert service.score().status_code == 200
    product.post("/services/s-calm/stop", {})
    wait_for(lambda: service.get()["state"] == "Stopped", "the service to stop", 60)
    assert product.left() == []
    product.post("/services/s-calm/start", {})
    service.wait_for_health()
    assert service.score().status_code == 200
    assert states(service) == {"ready"}
    service.delete()
    wait_for(lambda: product.left() == [], "the end of all that the service left", 60)
