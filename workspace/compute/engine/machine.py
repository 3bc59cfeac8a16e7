"""What the machine of an engine has: cores, memory, GPUs, and the address it has in containers."""

import logging
import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

from docker.errors import APIError, ContainerError, ImageNotFound
from docker.types import DeviceRequest

from workspace.compute import containers, nvidia
from workspace.compute.base import BackendError, Gpu, Node
from workspace.compute.engine.bridge import address_of_bridge
from workspace.compute.engine.client import Engine

GPUS_KEPT_SECONDS = 300
log = logging.getLogger(__name__)


def engine_node(engine: Engine) -> Node:
    """Return the machine as a node, with all that it has."""
    with engine.asked("The engine's resources could not be read") as client:
        info: dict[str, Any] = client.info()
    try:
        node = Node(
            name=str(info["Name"]),
            cpus=float(info["NCPU"]),
            memory_bytes=int(info["MemTotal"]),
            engine_version=str(info["ServerVersion"]),
        )
        has_gpus = "nvidia" in (info.get("Runtimes") or ())
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise BackendError(
            f"What answers at {engine.address} does not describe itself as a Docker Engine."
        ) from error
    if not has_gpus:
        return node
    gpus, message = _gpus(engine, int(time.monotonic() // GPUS_KEPT_SECONDS))
    return replace(node, gpus=gpus, message=message)


@lru_cache(maxsize=64)
def gateway(engine: Engine) -> str:
    """Return the address at which containers find the machine that they run on."""
    with engine.asked("The engine's default network could not be inspected") as client:
        found = client.networks.list(names=["bridge"], filters={"driver": "bridge"}, greedy=True)
    try:
        for network in found:
            if address := address_of_bridge(network.attrs, is_here=engine.is_local):
                return address
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise BackendError(
            f"What answers at {engine.address} does not describe its networks as a Docker Engine."
        ) from error
    raise BackendError(
        f"The engine at {engine.address} has no default bridge, by which containers could reach"
        " this server: give the target a web URL that they reach."
    )


@lru_cache(maxsize=16)
def _gpus(engine: Engine, period: int) -> tuple[tuple[Gpu, ...], str]:
    """Ask the driver's tool in a container, which the NVIDIA runtime puts into any image."""
    image = engine.access.gpu_base_image or engine.access.base_image
    with engine.asked("The GPUs could not be listed") as client:
        images = [image] if image else [str(one.id) for one in client.images.list()[:1]]
        if not images:
            return (), "GPUs are detected once there is an image: build an environment first."
        try:
            said = client.containers.run(
                images[0],
                [nvidia.PROGRAM, *nvidia.QUERY],
                entrypoint=[],
                remove=True,
                labels={containers.INSTALLATION: engine.access.installation},
                device_requests=[DeviceRequest(count=-1, capabilities=[["gpu", "utility"]])],
                network_mode="none",
            )
        except (APIError, ContainerError, ImageNotFound) as error:
            log.warning("GPUs of %s: %s", engine.address, error)
            return (), f"The NVIDIA runtime is installed, but its GPUs do not respond: {error}"[
                :300
            ]
    return nvidia.gpus_in(said.decode()), ""
