"""The nodes of a swarm as its manager describes them: health, size, and GPUs that may be had."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workspace.compute.base import Gpu, Node

Json = Mapping[str, Any]
READY, ACTIVE = "ready", "active"
ENDED = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}
NANO = 1e9
UNKNOWN = {"", "0.0.0.0", "127.0.0.1"}  # noqa: S104 - what a swarm says, not where we listen
COUNTED_GPUS = "Its GPUs are registered by number only: register each by its UUID to use them."


def nodes_in(listed: Sequence[Json], held: Mapping[str, set[str]]) -> list[Node]:
    """Return all nodes by name, without the GPUs that `held` names by node ID."""
    names = names_of(listed)
    found = [_node(one, names[one["ID"]], held.get(one["ID"], set())) for one in listed]
    return sorted(found, key=lambda node: node.name)


def names_of(listed: Iterable[Json]) -> dict[str, str]:
    """Name each node by its ID: its host name, with the ID where several share one."""
    hosts = {one["ID"]: str(one["Description"]["Hostname"]) for one in listed}
    shared = {host for host in hosts.values() if list(hosts.values()).count(host) > 1}
    return {key: f"{host}-{key}" if host in shared else host for key, host in hosts.items()}


def node_problem(node: Json) -> str:
    """Return why nothing can be started on a node, if so."""
    status = node["Status"]
    if status["State"] != READY:
        why = str(status.get("Message", "")).rstrip(".")
        return f"The node is {status['State']}{f': {why}' if why else ''}."
    availability = node["Spec"]["Availability"]
    if availability != ACTIVE:
        return f"The swarm's admin set the node's availability to {availability}."
    return ""


def address_of(node: Json) -> str:
    """Return the address by which the swarm knows a node; old managers misreport their own."""
    address = str(node["Status"].get("Addr", ""))
    if address in UNKNOWN:
        address = str((node.get("ManagerStatus") or {}).get("Addr", "")).rpartition(":")[0]
    return address


def reserved_gpus(tasks: Iterable[Json]) -> dict[str, set[str]]:
    """Name the GPUs that tasks of other services reserve, by the node's ID."""
    held: dict[str, set[str]] = {}
    for task in tasks:
        if task["Status"]["State"] in ENDED:
            continue
        for resource in task.get("GenericResources") or []:
            named = resource.get("NamedResourceSpec")
            if named and _is_gpu(named):
                held.setdefault(task.get("NodeID", ""), set()).add(named["Value"])
    return held


def _node(described: Json, name: str, held: set[str]) -> Node:
    resources = described["Description"]["Resources"]
    trouble = node_problem(described)
    return Node(
        name=name,
        cpus=resources.get("NanoCPUs", 0) / NANO,
        memory_bytes=resources.get("MemoryBytes", 0),
        gpus=tuple(
            Gpu(index, uuid, "", 0)
            for index, uuid in enumerate(_gpu_uuids(described))
            if uuid not in held
        ),
        healthy=not trouble,
        message=trouble or (COUNTED_GPUS if _has_counted_gpus(described) else ""),
        engine_version=described["Description"]["Engine"]["EngineVersion"],
    )


def _gpu_uuids(described: Json) -> list[str]:
    named = [one.get("NamedResourceSpec") for one in _generic(described)]
    return sorted(one["Value"] for one in named if one and _is_gpu(one))


def _has_counted_gpus(described: Json) -> bool:
    counted = [one.get("DiscreteResourceSpec") for one in _generic(described)]
    return any(one and _is_gpu(one) for one in counted)


def _generic(described: Json) -> Sequence[Json]:
    return described["Description"]["Resources"].get("GenericResources") or []


def _is_gpu(resource: Json) -> bool:
    return str(resource["Kind"]).lower().endswith("gpu")
