"""Services on an engine of another machine, and what becomes of them when it is restarted."""

import pytest

from tests.docker.engine import BASE_IMAGE
from tests.docker.restartable_engine import SERVING_IMAGE, OwnEngine, OwnEngineProduct
from tests.docker.serving import deploy, make_fake_serving_image, register
from tests.models.saved_models import model_files
from tests.waiting import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.product]


def test_a_service_on_another_machine_is_reached_there_and_survives_a_restart_of_its_engine(
    own_engine: OwnEngine, own_engine_product: OwnEngineProduct
) -> None:
    product = own_engine_product
    with own_engine.client() as client:
        name = SERVING_IMAGE.replace("{version}", "2.21.0")
        make_fake_serving_image(client, BASE_IMAGE, name)
    product.add_target("remote", own_engine.remote_address)
    register(product, model_files(), "digits", "2.21")
    service = deploy(product, "digits", "remote", cpu=0.5, memory_gb=0.5)
    assert service.score().json()["predictions"][0] == "model 1"
    (container,) = service.containers(own_engine, product.installation)
    published = container.attrs["NetworkSettings"]["Ports"]["2222/tcp"]
    assert published[0]["HostIp"] == "0.0.0.0"  # noqa: S104

    own_engine.stop()
    own_engine.start()
    service.wait_for_replacement(container.labels["trainyard.process"])
    assert service.score().status_code == 200, own_engine.inside
    service.delete()
    wait_for(lambda: product.left() == [], "the end of all that the service left", 60)
