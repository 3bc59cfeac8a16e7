"""The Docker Engine of this machine: whether one answers, and where its containers find us."""

from dataclasses import dataclass

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.engine import machine
from workspace.compute.engine.client import Engine

PATIENCE_SECONDS = 3


@dataclass(frozen=True)
class LocalEngine:
    """An engine on this machine, and this machine's address inside its containers."""

    address: str
    gateway: str


def find_local_engine(address: str) -> LocalEngine | None:
    """Find the engine at an address that is a socket of this machine, if one answers there."""
    if not address.startswith("unix://"):
        return None
    engine = Engine(TargetAccess(home="", address=address), PATIENCE_SECONDS)
    try:
        return LocalEngine(address, machine.gateway(engine))
    except BackendError:
        return None
    finally:
        engine.close()
