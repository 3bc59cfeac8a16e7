"""The engine that is found at the start, and the door through which its containers reach us."""

import httpx
import pytest

from tests.docker.docker_product import DockerProduct
from tests.docker.engine import BASE_IMAGE
from workspace.compute.engine.discovery import find_local_engine

pytestmark = [pytest.mark.docker, pytest.mark.product]


def test_the_start_says_that_an_engine_answers(docker_product: DockerProduct) -> None:
    assert f"Found a Docker Engine at {docker_product.engine.address}" in (
        docker_product.launched.said
    )


def test_containers_reach_the_runners_endpoints_and_nothing_else(
    docker_product: DockerProduct,
) -> None:
    found = find_local_engine(docker_product.engine.address)
    assert found is not None
    port = httpx.URL(docker_product.url).port
    script = f"""
import urllib.error, urllib.request
for path in ("/runner/v1/spec", "/login/", "/api/v1/health", "/serve/default/x/v1/models/x"):
    try:
        print(urllib.request.urlopen("http://{found.gateway}:{port}" + path).status, path)
    except urllib.error.HTTPError as error:
        print(error.code, path)
"""
    with docker_product.engine.client() as client:
        said = client.containers.run(BASE_IMAGE, ["python", "-c", script], remove=True)
    assert said.decode().splitlines() == [
        "401 /runner/v1/spec",
        "404 /login/",
        "404 /api/v1/health",
        "404 /serve/default/x/v1/models/x",
    ]


def test_a_page_that_asks_for_a_socket_from_a_container_is_refused(
    docker_product: DockerProduct,
) -> None:
    found = find_local_engine(docker_product.engine.address)
    assert found is not None
    port = httpx.URL(docker_product.url).port
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    page = f"http://{found.gateway}:{port}/ws/teams/default/runs/1/"
    answer = httpx.get(page, headers=upgrade, timeout=60)
    assert answer.status_code == 403


def test_no_engine_is_found_where_none_answers() -> None:
    assert find_local_engine("unix:///no/such.sock") is None
    assert find_local_engine("tcp://127.0.0.1:1") is None
