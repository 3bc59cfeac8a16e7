"""Which machines an engine stands for, so that two ways to it count them once."""

import socket
from collections.abc import Mapping
from typing import Any

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.docker_client import Engine

THIS_MACHINE = "local"
ANSWER_SECONDS = 5


def pool_of(access: TargetAccess, *, is_swarm: bool) -> str:
    """Name the machines behind an address: a Swarm, this machine, or else the engine.

    Raises BackendError, also where a Swarm is expected and the engine manages none.
    """
    engine = Engine(access, ANSWER_SECONDS)
    try:
        with engine.asked("The engine could not be asked who it is") as client:
            info: dict[str, Any] = client.info()
    finally:
        engine.close()
    problem = swarm_problem(info)
    if not problem:
        return str(info["Swarm"]["Cluster"]["ID"])
    if is_swarm:
        raise BackendError(problem)
    if engine.is_here and info.get("Name") == socket.gethostname():
        return THIS_MACHINE
    return str(info["ID"])


def swarm_problem(info: Mapping[str, Any]) -> str:
    """Say why an engine cannot lead a Swarm; nothing when it does."""
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState")
    if state != "active":
        return f"The engine {info.get('Name')} is in no Swarm (its state there: {state})."
    if not swarm.get("ControlAvailable"):
        return f"The engine {info.get('Name')} is a worker of a Swarm, not one of its managers."
    return ""
