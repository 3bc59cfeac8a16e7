"""Take from an engine what installations of tests left there."""

from typing import Any

from docker import DockerClient
from docker.errors import ImageNotFound


def clear(client: DockerClient, installation: str = "") -> None:
    """Remove containers, networks, volumes and images of an installation, or of all of them."""
    ours: dict[str, Any] = {"label": f"trainyard.installation={installation}".rstrip("=")}
    for container in client.containers.list(True, filters=ours, ignore_removed=True):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=ours):
        network.remove()
    for volume in client.volumes.list(filters=ours):
        volume.remove(force=True)
    # The newest first: one that others were built upon can't go before them.
    images = client.images.list(filters=ours)
    for image in sorted(images, key=lambda image: image.attrs["Created"], reverse=True):
        try:
            client.images.remove(str(image.id), force=True)
        except ImageNotFound:
            continue  # it went with another
