"""Trying real engines: what works on them is said, and what does not, with the remedy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.engine import Engine
from tests.docker.swarm import Swarm
from tests.waiting import wait_for
from workspace.compute import docker_machine, docker_trial
from workspace.compute.access import TargetAccess
from workspace.compute.docker import DockerBackend
from workspace.compute.docker_client import Engine as ReachedEngine
from workspace.compute.docker_identity import pool_of
from workspace.compute.docker_trial import Surroundings, try_engine
from workspace.compute.swarm import SwarmBackend
from workspace.compute.trial import Outcome, Step

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


def access_to(address: str, registry: str = "") -> TargetAccess:
    return TargetAccess(
        home="/nowhere", installation=INSTALLATION, address=address, registry=registry
    )


def try_docker(access: TargetAccess, url: str = "http://192.0.2.1:8000") -> dict[str, Step]:
    *_, steps = try_engine(access, DockerBackend(access), Surroundings(url), is_swarm=False)
    return {step.name: step for step in steps}


def test_an_engine_that_works_passes_every_step_and_keeps_nothing(engine: Engine) -> None:
    access = access_to(engine.address)
    with web_at(docker_machine.gateway(ReachedEngine(access))) as url:
        steps = try_docker(access, url)
    assert {name for name, step in steps.items() if step.outcome == Outcome.FAILED} == set()
    assert steps["A container starts"].outcome == Outcome.OK
    assert steps["Containers reach Trainyard"].outcome == Outcome.OK
    assert steps["Room on the disk"].said.endswith("GB are free.")
    with engine.client() as client:
        ours: dict[str, str | list[str] | bool] = {
            "label": f"trainyard.installation={INSTALLATION}"
        }
        assert client.containers.list(all=True, filters=ours) == []


def test_a_web_that_containers_cannot_reach_is_told(engine: Engine) -> None:
    step = try_docker(access_to(engine.address), "http://127.0.0.1:9")["Containers reach Trainyard"]
    assert step.outcome == Outcome.FAILED
    assert "Connection refused" in step.said
    assert "web URL" in step.remedy


def test_a_registry_that_is_not_there_is_told(engine: Engine) -> None:
    step = try_docker(access_to(engine.address, "127.0.0.1:9"))["The registry takes images"]
    assert step.outcome == Outcome.FAILED
    assert "127.0.0.1:9 did not take an image" in step.said
    with engine.client() as client:
        assert client.images.list("127.0.0.1:9/trainyard/trial") == []


def test_a_disk_without_room_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_trial, "LEAST_FREE_BYTES", 10**18)
    step = try_docker(access_to(engine.address))["Room on the disk"]
    assert step.outcome == Outcome.FAILED
    assert "docker system prune" in step.remedy


def test_an_engine_in_no_swarm_is_no_swarm_target(engine: Engine) -> None:
    access = access_to(engine.address)
    around = Surroundings("http://192.0.2.1:8000")
    *_, steps = try_engine(access, SwarmBackend(access), around, is_swarm=True)
    (failed,) = [step for step in steps if step.outcome == Outcome.FAILED]
    assert failed.name == "It is the kind of engine that the target says"
    assert "is in no Swarm" in failed.said


def test_an_engine_on_a_socket_of_this_machine_is_this_machine(engine: Engine) -> None:
    assert pool_of(access_to(engine.address), is_swarm=False) == "local"


def test_a_swarm_works_and_its_manager_stands_for_the_same_machines(swarm: Swarm) -> None:
    access = access_to(swarm.address, swarm.registry)
    around = Surroundings("http://192.0.2.1:8000")
    *_, steps = try_engine(access, SwarmBackend(access), around, is_swarm=True)
    tried = {step.name: step for step in steps}
    assert tried["It is the kind of engine that the target says"].said.endswith("2 nodes.")
    assert tried["Nodes and what they have"].outcome == Outcome.OK
    assert tried["GPUs"].said.startswith("4")
    assert tried["The registry takes images"].outcome == Outcome.OK
    whole = pool_of(access, is_swarm=True)
    assert whole
    assert pool_of(access, is_swarm=False) == whole


@pytest.mark.product
def test_a_whole_product_tries_its_engine_and_its_containers_reach_it(
    docker_product: DockerProduct,
) -> None:
    at = f"/targets/{TARGET}/test"
    docker_product.call("POST", at)

    def trial() -> Any:
        told = docker_product.get(at)
        return told if told["is_over"] else None

    told = wait_for(trial, "the end of the trial", 120)
    assert [step for step in told["steps"] if step["outcome"] == "failed"] == []
    assert told["works"]
    said = {step["name"]: step["said"] for step in told["steps"]}
    assert said["Containers reach Trainyard"].endswith("answers.")
    target = docker_product.get(f"/targets/{TARGET}")
    assert (target["pool"], target["shares_machines_with"]) == ("local", ["local"])
    nodes = wait_for(lambda: docker_product.get(f"/targets/{TARGET}")["nodes"], "its nodes")
    assert nodes[0]["engine_version"]
    wait_for(lambda: not docker_product.left(), "an engine without anything of the product", 60)
