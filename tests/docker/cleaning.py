"""Take from an engine what one installation of a test left there."""

from typing import Any

from tests.docker.engine import Engine
from workspace.compute.access import TargetAccess
from workspace.compute.docker_images import EngineImages


def clear(engine: Engine, client: Any, installation: str) -> None:
    """Remove the containers and images of an installation, and its cache."""
    ours = {"label": f"trainyard.installation={installation}"}
    for container in client.containers.list(all=True, filters=ours):
        container.remove(force=True)
    images = EngineImages(TargetAccess(home="", installation=installation, address=engine.address))
    images.clear()
    images.close()
