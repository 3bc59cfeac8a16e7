"""What a swarm's tasks show of the processes of a group. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workspace.compute.base import Sighting, SightingState
from workspace.compute.containers import PROCESS
from workspace.compute.swarm_nodes import address_of

Described = Mapping[str, Any]
BEGUN = {"starting", "running"}
WAITING = {"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready"}
EXITED = {"complete", "failed"}
DOWN = {"down", "disconnected"}


def sightings_in(
    services: Iterable[Described],
    tasks: Iterable[Described],
    nodes: Mapping[str, Described],
    names: Mapping[str, str],
) -> Sequence[Sighting]:
    """Give one sighting for each service: of its newest task, and of the node that this is on."""
    newest: dict[str, Described] = {}
    for task in sorted(tasks, key=lambda task: str(task["CreatedAt"])):
        newest[task["ServiceID"]] = task
    return [
        _sighting(service["Spec"]["Labels"][PROCESS], newest.get(service["ID"]), nodes, names)
        for service in services
    ]


def _sighting(
    process: str, task: Described | None, nodes: Mapping[str, Described], names: Mapping[str, str]
) -> Sighting:
    if task is None:
        return Sighting(process, SightingState.ALIVE, reason="The swarm has not looked at it yet.")
    status, node_id = task["Status"], task.get("NodeID", "")
    state, node = status["State"], names.get(node_id, "")
    if state in WAITING | BEGUN:
        if node_id and (lost := _loss_of(nodes.get(node_id))):
            return Sighting(process, SightingState.GONE, reason=lost, node=node)
        said = status.get("Err", "") if state in WAITING else ""
        waits = f"The swarm says: {said.rstrip('.')}." if said else ""
        doors = _doors(status, nodes.get(node_id))
        return Sighting(process, SightingState.ALIVE, reason=waits, node=node, doors=doors)
    code = (status.get("ContainerStatus") or {}).get("ExitCode")
    if state in EXITED and code is not None:
        return Sighting(process, SightingState.EXITED, code, _how_it_ended(code, status), node)
    return Sighting(process, SightingState.GONE, reason=_why_not(state, status, node), node=node)


def _doors(status: Described, node: Described | None) -> tuple[str, ...]:
    """Give where a task's published ports are, once its node has chosen them."""
    ports = (status.get("PortStatus") or {}).get("Ports") or []
    published = {port["TargetPort"]: port["PublishedPort"] for port in ports}
    host = address_of(node) if node is not None else ""
    return tuple(f"{host}:{published[inside]}" for inside in sorted(published)) if host else ()


def _loss_of(node: Described | None) -> str:
    """Say that a node is lost, if it is; what ran there may still run, and cannot be reached."""
    if node is None:
        return "its node has left the swarm"
    if node["Status"]["State"] not in DOWN:
        return ""
    why = str(node["Status"].get("Message", "")).rstrip(".")
    return f"its node {node['Description']['Hostname']} is down ({why or 'the swarm says no more'})"


def _how_it_ended(code: int, status: Described) -> str:
    if code == 0:
        return ""
    return f"its container ended with exit code {code} ({status.get('Err', '').rstrip('.')})"


def _why_not(state: str, status: Described, node: str) -> str:
    said = str(status.get("Err") or status.get("Message") or "").rstrip(".")
    where = f" on {node}" if node else ""
    if "No such image" in said:
        return (
            f"its image is not there{where} and could not be fetched ({said}): give the target a"
            " registry that every node can reach, or load the image into every node's engine"
        )
    return f"the swarm ended its task{where} ({state}: {said})"
