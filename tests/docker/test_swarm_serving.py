"""Services on a swarm of two nodes: their replicas are reached on the nodes that they are on."""

import pytest

from tests.docker.serving import deploy, make_fake_serving_image, register
from tests.docker.swarm_product import TARGET, SwarmProduct
from tests.models.saved_models import model_files

pytestmark = [pytest.mark.docker, pytest.mark.product]


def test_a_service_on_a_swarm_is_scored_replaced_and_leaves_nothing(
    swarm_product: SwarmProduct,
) -> None:
    swarm = swarm_product.swarm
    with swarm.manager.engine.client() as client:
        name = f"{swarm.registry}/serving:2.21.0"
        make_fake_serving_image(client, swarm.base, name)
    register(swarm_product, model_files(), "digits", "2.21")
    service = deploy(swarm_product, "digits", TARGET, cpu=0.5, memory_gb=0.5)
    assert service.score().json()["predictions"][0] == "model 1"
    found = [
        (node, container)
        for node in swarm.nodes
        for container in service.containers(node.engine, swarm_product.installation)
    ]
    ((_, container),) = found
    limits = container.attrs["HostConfig"]
    assert limits["NanoCpus"] == 0.5e9
    assert limits["Memory"] >= 500_000_000
    container.kill()
    service.wait_for_replacement(container.labels["trainyard.process"])
    assert service.score().status_code == 200
    service.delete()
    swarm_product.wait_until_nothing_is_left()
