"""Which machines an engine stands for, so that two ways to it count them once."""

import socket
from collections.abc import Mapping
from typing import Any

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.engine.client import Engine

LOCAL_POOL = "local"
ANSWER_SECONDS = 5
LONGEST_ID = 64


def machines_id(access: TargetAccess) -> str:
    """Name the machines behind an address: a Swarm, this machine, or else the engine.

    Raises BackendError.
    """
    info = _info_of(access)
    if not swarm_problem(info):
        return _swarm_id(info)
    is_local = access.address.startswith("unix://")
    if is_local and info.get("Name") == socket.gethostname():
        return LOCAL_POOL
    if not (engine_id := str(info.get("ID", ""))) or engine_id == LOCAL_POOL:
        raise BackendError(f"What answers at {access.address} does not say which engine it is.")
    return engine_id[:LONGEST_ID]


def swarm_id(access: TargetAccess) -> str:
    """Name the Swarm that an engine manages. Raises BackendError where it manages none."""
    info = _info_of(access)
    if problem := swarm_problem(info):
        raise BackendError(problem)
    return _swarm_id(info)


def swarm_problem(info: Mapping[str, Any]) -> str:
    """Return why an engine cannot lead a Swarm; nothing when it does."""
    swarm = info.get("Swarm")
    swarm = swarm if isinstance(swarm, dict) else {}
    state = swarm.get("LocalNodeState")
    if state != "active":
        return f"The engine {info.get('Name')} is in no Swarm (its state there: {state})."
    if not swarm.get("ControlAvailable"):
        return f"The engine {info.get('Name')} is a worker of a Swarm, not one of its managers."
    return ""


def _info_of(access: TargetAccess) -> dict[str, Any]:
    engine = Engine(access, ANSWER_SECONDS)
    try:
        with engine.asked("The engine's identity could not be read") as client:
            info: dict[str, Any] = client.info()
            if not isinstance(info, dict):
                raise BackendError(f"What answers at {access.address} is no Docker Engine.")
            return info
    finally:
        engine.close()


def _swarm_id(info: Mapping[str, Any]) -> str:
    try:
        return str(info["Swarm"]["Cluster"]["ID"])[:LONGEST_ID]
    except (LookupError, TypeError) as error:
        raise BackendError(f"The engine {info.get('Name')} does not name its Swarm.") from error
