"""Folders of runs on a disk that all nodes of a swarm share, made and removed by its manager.

A run's processes see their own folder of it alone.
"""

from typing import Any

from docker import DockerClient
from docker.errors import ContainerError
from docker.types import Mount

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.containers import INSTALLATION, USER, volume_of

PLACE = "/shared"


def make(client: DockerClient, access: TargetAccess, name: str, image: str) -> str:
    """Make a folder for programs, if it is not there; return its path on every node."""
    folder = volume_of(access, name)
    _run(client, access, image, f"mkdir -p {PLACE}/{folder} && chown {USER} {PLACE}/{folder}")
    return f"{access.shared_folder}/{folder}"


def remove(client: DockerClient, access: TargetAccess, name: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    ours = client.images.list(filters={"label": f"{INSTALLATION}={access.installation}"})
    if not ours:
        raise BackendError(
            f"No Trainyard image is left on the manager to remove it with: remove"
            f" {access.shared_folder}/{volume_of(access, name)} by hand."
        )
    _run(client, access, str(ours[0].id), f"rm -rf {PLACE}/{volume_of(access, name)}")


def _run(client: DockerClient, access: TargetAccess, image: str, command: str) -> None:
    try:
        client.containers.run(
            image,
            ["-c", command],
            entrypoint=["/bin/sh"],
            user="0:0",
            remove=True,
            network_mode="none",
            labels={INSTALLATION: access.installation},
            mounts=[Mount(PLACE, access.shared_folder, "bind")],
        )
    except ContainerError as error:
        stderr: Any = error.stderr  # bytes, whatever its annotation says
        said = stderr.decode(errors="replace").strip()
        raise BackendError(
            f"The shared folder {access.shared_folder} cannot be used: {said}"
        ) from error
