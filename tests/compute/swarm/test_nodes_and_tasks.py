"""What a swarm's own descriptions mean: nodes, GPUs and tasks, by hand where none can be had."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, ProcessStatusState, TargetUnreachable
from workspace.compute.containers import PROCESS
from workspace.compute.swarm.backend import SwarmBackend
from workspace.compute.swarm.nodes import nodes_in, reserved_gpus
from workspace.compute.swarm.tasks import process_statuses


def described(key: str, host: str, *resources: dict[str, Any], **status: str) -> dict[str, Any]:
    return {
        "ID": key,
        "Spec": {"Availability": "active"},
        "Status": {"State": "ready", **status},
        "Description": {
            "Hostname": host,
            "Resources": {"NanoCPUs": 4e9, "MemoryBytes": 8e9, "GenericResources": [*resources]},
            "Engine": {"EngineVersion": "20.10.24"},
        },
    }


def named(kind: str, uuid: str) -> dict[str, Any]:
    return {"NamedResourceSpec": {"Kind": kind, "Value": uuid}}


def task(state: str, **details: Any) -> dict[str, Any]:
    status = {"State": state, **details.pop("status", {})}
    made = {"CreatedAt": "1", "ServiceID": "s", "NodeID": "k1", "Status": status}
    return {**made, **details}


def seen(*tasks: dict[str, Any], node: dict[str, Any] | None = None) -> Any:
    services = [{"ID": "s", "Spec": {"Labels": {PROCESS: "worker-0"}}}]
    nodes = {"k1": node or described("k1", "alpha")}
    (process_status,) = process_statuses(services, tasks, nodes, {"k1": "alpha"})
    return process_status


def test_nodes_of_one_host_name_are_told_apart():
    nodes = nodes_in([described("k1", "gpu"), described("k2", "gpu"), described("k3", "web")], {})
    assert [node.name for node in nodes] == ["gpu-k1", "gpu-k2", "web"]


def test_gpus_are_those_registered_by_uuid_whatever_their_kind_is_called():
    resources = [named("NVIDIA-GPU", "GPU-b"), named("gpu", "GPU-a"), named("fpga", "F-1")]
    (node,) = nodes_in([described("k1", "alpha", *resources)], {"k1": {"GPU-b"}})
    assert [gpu.uuid for gpu in node.gpus] == ["GPU-a"]


def test_gpus_registered_by_number_only_are_not_used_and_the_node_says_so():
    counted = {"DiscreteResourceSpec": {"Kind": "GPU", "Value": 4}}
    (node,) = nodes_in([described("k1", "alpha", counted)], {})
    assert node.healthy
    assert node.gpus == ()
    assert "register each by its UUID" in node.message


def test_a_gpu_is_held_while_the_task_that_reserves_it_is_not_over():
    reserves = {"GenericResources": [named("GPU", "GPU-a")]}
    assert reserved_gpus([task("running", **reserves)]) == {"k1": {"GPU-a"}}
    assert reserved_gpus([task("failed", **reserves), task("shutdown", **reserves)]) == {}


def test_a_node_that_is_down_says_why():
    (node,) = nodes_in([described("k1", "alpha", State="down", Message="Heartbeat failure")], {})
    assert not node.healthy
    assert node.message == "The node is down: Heartbeat failure."


def test_the_newest_task_of_a_service_counts():
    old = task("failed", CreatedAt="1", status={"ContainerStatus": {"ExitCode": 1}})
    assert seen(task("running", CreatedAt="2"), old).state == ProcessStatusState.ALIVE


def test_a_service_without_a_task_yet_is_waited_for():
    assert seen().state == ProcessStatusState.ALIVE


def test_a_task_whose_node_left_the_swarm_is_gone():
    services = [{"ID": "s", "Spec": {"Labels": {PROCESS: "worker-0"}}}]
    (process_status,) = process_statuses(services, [task("running")], {}, {})
    assert process_status.state == ProcessStatusState.GONE
    assert process_status.reason == "its node has left the swarm"


def test_a_task_that_the_swarm_ended_is_gone_with_its_words():
    process_status = seen(task("rejected", status={"Err": "invalid mount config."}))
    assert process_status.state == ProcessStatusState.GONE
    assert (
        process_status.reason
        == "the swarm ended its task on alpha (rejected: invalid mount config)"
    )


@pytest.mark.parametrize(
    "said",
    [
        "The swarm does not have a leader. It's possible that too few managers are online.",
        "rpc error: code = Unknown desc = context deadline exceeded.",
    ],
)
def test_a_swarm_without_a_leader_counts_as_one_that_does_not_answer(
    said: str, monkeypatch: pytest.MonkeyPatch
):
    class Leaderless:
        @contextmanager
        def asked(self, what: str) -> Iterator[None]:
            raise BackendError(f"{what}: {said}")
            yield

    backend = SwarmBackend(TargetAccess(home="", address="tcp://127.0.0.1:1"))
    monkeypatch.setattr(backend, "engine", Leaderless())
    with pytest.raises(TargetUnreachable, match="The swarm has no leader"):
        backend.check()


def published(**ports: int) -> dict[str, Any]:
    chosen = [
        {"TargetPort": int(inside.removeprefix("p")), "PublishedPort": outside}
        for inside, outside in ports.items()
    ]
    return {"PortStatus": {"Ports": chosen}}


@pytest.mark.parametrize(
    ("node", "host"),
    [
        (described("k1", "alpha", Addr="10.0.0.5"), "10.0.0.5"),
        (
            described("k1", "alpha", Addr="0.0.0.0")  # noqa: S104
            | {"ManagerStatus": {"Addr": "10.0.0.6:2377"}},
            "10.0.0.6",
        ),
    ],
    ids=["a worker", "a manager that does not know its own address"],
)
def test_published_ports_are_reached_on_the_node_of_the_task(
    node: dict[str, Any], host: str
) -> None:
    running = task("running", status=published(p2223=32769, p2222=32768))
    assert seen(running, node=node).published_ports == (f"{host}:32768", f"{host}:32769")


def test_a_task_whose_node_has_not_chosen_ports_yet_has_no_doors() -> None:
    assert seen(task("running")).published_ports == ()
