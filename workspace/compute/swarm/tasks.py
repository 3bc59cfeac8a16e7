"""What a swarm's tasks show of the processes of a group. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workspace.compute.base import ProcessStatus, ProcessStatusState
from workspace.compute.containers import PROCESS
from workspace.compute.swarm.nodes import address_of

Json = Mapping[str, Any]
STARTED_STATES = {"starting", "running"}
WAITING = {"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready"}
EXITED = {"complete", "failed"}
DOWN = {"down", "disconnected"}


def process_statuses(
    services: Iterable[Json],
    tasks: Iterable[Json],
    nodes: Mapping[str, Json],
    names: Mapping[str, str],
) -> Sequence[ProcessStatus]:
    """Return the status of each service's newest task and of its node, ordered by process name."""
    newest: dict[str, Json] = {}
    for task in sorted(tasks, key=lambda task: str(task["CreatedAt"])):
        newest[task["ServiceID"]] = task
    by_name = {service["Spec"]["Labels"][PROCESS]: service["ID"] for service in services}
    return [
        _process_status(name, newest.get(service_id), nodes, names)
        for name, service_id in sorted(by_name.items())
    ]


def _process_status(
    process: str, task: Json | None, nodes: Mapping[str, Json], names: Mapping[str, str]
) -> ProcessStatus:
    if task is None:
        return ProcessStatus(
            process, ProcessStatusState.ALIVE, reason="The swarm has not scheduled it yet."
        )
    status, node_id = task["Status"], task.get("NodeID", "")
    state, node = status["State"], names.get(node_id, "")
    if state in WAITING | STARTED_STATES:
        if node_id and (lost := _loss_of(nodes.get(node_id))):
            return ProcessStatus(process, ProcessStatusState.GONE, reason=lost, node=node)
        said = status.get("Err", "") if state in WAITING else ""
        waits = f"The swarm says: {said.rstrip('.')}." if said else ""
        doors = _published_ports(status, nodes.get(node_id))
        return ProcessStatus(
            process, ProcessStatusState.ALIVE, reason=waits, node=node, published_ports=doors
        )
    code = (status.get("ContainerStatus") or {}).get("ExitCode")
    if state in EXITED and code is not None:
        return ProcessStatus(
            process, ProcessStatusState.EXITED, code, _how_it_ended(code, status), node
        )
    return ProcessStatus(
        process, ProcessStatusState.GONE, reason=_why_not(state, status, node), node=node
    )


def _published_ports(status: Json, node: Json | None) -> tuple[str, ...]:
    """Return where a task's published ports are, once its node has chosen them."""
    ports = (status.get("PortStatus") or {}).get("Ports") or []
    published = {port["TargetPort"]: int(port["PublishedPort"]) for port in ports}
    host = address_of(node) if node is not None else ""
    return tuple(f"{host}:{published[inside]}" for inside in sorted(published)) if host else ()


def _loss_of(node: Json | None) -> str:
    """Say that a node is lost, if it is; what ran there may still run, and cannot be reached."""
    if node is None:
        return "its node has left the swarm"
    if node["Status"]["State"] not in DOWN:
        return ""
    why = str(node["Status"].get("Message", "")).rstrip(".")
    return f"its node {node['Description']['Hostname']} is down ({why or 'the swarm says no more'})"


def _how_it_ended(code: int, status: Json) -> str:
    if code == 0:
        return ""
    return f"its container ended with exit code {code} ({status.get('Err', '').rstrip('.')})"


def _why_not(state: str, status: Json, node: str) -> str:
    said = str(status.get("Err") or status.get("Message") or "").rstrip(".")
    where = f" on {node}" if node else ""
    if "No such image" in said:
        return (
            f"its image is not there{where} and could not be pulled ({said}): give the target a"
            " registry that every node can reach, or load the image into every node's engine"
        )
    return f"the swarm ended its task{where} ({state}: {said})"
