"""Trying real engines: what works on them is said, and what does not, with the remedy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import Engine
from tests.waiting import wait_for
from workspace.compute.access import TargetAccess
from workspace.compute.connection_test import ConnectionStep, ServerAddress, StepOutcome
from workspace.compute.docker.backend import DockerBackend
from workspace.compute.engine import connection_test, machine
from workspace.compute.engine.client import Engine as ReachedEngine
from workspace.compute.swarm.backend import SwarmBackend

pytestmark = pytest.mark.docker

INSTALLATION = "trials"


@contextmanager
def web_at(host: str) -> Iterator[str]:
    """Answer a runner without a token as the web does, at an address that containers reach."""

    class Runners(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401 if self.path == "/runner/v1/spec" else 404)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((host, 0), Runners)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def target_access(address: str, registry: str = "") -> TargetAccess:
    return TargetAccess(
        home="/nowhere", installation=INSTALLATION, address=address, registry=registry
    )


def try_docker(
    access: TargetAccess, url: str = "http://192.0.2.1:8000"
) -> dict[str, ConnectionStep]:
    *_, steps = DockerBackend(access).connection_test(ServerAddress(url))
    return {step.name: step for step in steps}


def test_an_engine_that_works_passes_every_step_and_keeps_nothing(engine: Engine) -> None:
    access = target_access(engine.address)
    with web_at(machine.gateway(ReachedEngine(access))) as url:
        steps = try_docker(access, url)
    assert {name for name, step in steps.items() if step.outcome == StepOutcome.FAILED} == set()
    assert steps["Container starts"].outcome == StepOutcome.OK
    assert steps["Containers reach Trainyard"].outcome == StepOutcome.OK
    assert steps["Disk space"].said.endswith("GB are free.")
    with engine.client() as client:
        ours: dict[str, str | list[str] | bool] = {
            "label": f"trainyard.installation={INSTALLATION}"
        }
        assert client.containers.list(all=True, filters=ours) == []


def test_a_web_that_containers_cannot_reach_is_told(engine: Engine) -> None:
    step = try_docker(target_access(engine.address), "http://127.0.0.1:9")[
        "Containers reach Trainyard"
    ]
    assert step.outcome == StepOutcome.FAILED
    assert "Connection refused" in step.said
    assert "web URL" in step.remedy


def test_a_registry_that_is_not_there_is_told(engine: Engine) -> None:
    step = try_docker(target_access(engine.address, "127.0.0.1:9"))["Registry accepts images"]
    assert step.outcome == StepOutcome.FAILED
    assert "127.0.0.1:9 rejected an image" in step.said
    with engine.client() as client:
        assert client.images.list("127.0.0.1:9/trainyard/connection-test") == []


def test_a_disk_without_room_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_test, "MIN_FREE_BYTES", 10**18)
    step = try_docker(target_access(engine.address))["Disk space"]
    assert step.outcome == StepOutcome.FAILED
    assert "docker system prune" in step.remedy


def test_an_engine_in_no_swarm_is_no_swarm_target(engine: Engine) -> None:
    access = target_access(engine.address)
    *_, steps = SwarmBackend(access).connection_test(ServerAddress("http://192.0.2.1:8000"))
    (failed,) = [step for step in steps if step.outcome == StepOutcome.FAILED]
    assert failed.name == "Engine type"
    assert "is in no Swarm" in failed.said


def test_an_engine_on_a_socket_of_this_machine_is_this_machine(engine: Engine) -> None:
    assert DockerBackend(target_access(engine.address)).machines_id() == "local"


@pytest.mark.product
def test_a_whole_product_tries_its_engine_and_its_containers_reach_it(
    docker_product: DockerProduct,
) -> None:
    at = f"/targets/{TARGET}/test"
    docker_product.call("POST", at)

    def finished() -> Any:
        told = docker_product.get(at)
        return told if told["is_over"] else None

    told = wait_for(finished, "the end of the connection test", 120)
    assert [step for step in told["steps"] if step["outcome"] == "failed"] == []
    assert told["works"]
    said = {step["name"]: step["said"] for step in told["steps"]}
    assert said["Containers reach Trainyard"].endswith("answers.")
    target = docker_product.get(f"/targets/{TARGET}")
    assert (target["pool"], target["shares_machines_with"]) == ("local", ["local"])
    nodes = wait_for(lambda: docker_product.get(f"/targets/{TARGET}")["nodes"], "its nodes")
    assert nodes[0]["engine_version"]
    wait_for(lambda: not docker_product.left(), "an engine without anything of the product", 60)
