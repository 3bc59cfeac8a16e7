"""What the machine of an engine has: cores, memory, GPUs, and the address it has in containers."""

import logging
import time
from functools import lru_cache
from typing import Any

from docker.errors import APIError, ContainerError, ImageNotFound
from docker.types import DeviceRequest

from workspace.compute import containers
from workspace.compute.base import BackendError, Gpu, Node
from workspace.compute.docker_client import Engine
from workspace.compute.local_machine import GPU_FACTS, gpus_in

GPUS_KEPT_SECONDS = 300
QUERY = ["nvidia-smi", f"--query-gpu={GPU_FACTS}", "--format=csv,noheader,nounits"]
log = logging.getLogger(__name__)


def look(engine: Engine) -> Node:
    """Give the machine as a node, with all that it has."""
    with engine.asked("The engine could not be asked what it has") as client:
        info: dict[str, Any] = client.info()
    gpus: tuple[Gpu, ...] = ()
    message = ""
    if "nvidia" in info.get("Runtimes", {}):
        gpus, message = _gpus(engine, int(time.monotonic() // GPUS_KEPT_SECONDS))
    return Node(
        name=info["Name"],
        cpus=float(info["NCPU"]),
        memory_bytes=int(info["MemTotal"]),
        gpus=gpus,
        message=message,
        engine_version=info["ServerVersion"],
    )


@lru_cache(maxsize=64)
def gateway(engine: Engine) -> str:
    """Give the address at which containers find the machine that they run on."""
    with engine.asked("The engine's default network could not be looked at") as client:
        found = client.networks.list(names=["bridge"], filters={"driver": "bridge"}, greedy=True)
        for network in found:
            for configured in network.attrs["IPAM"]["Config"] or []:
                if configured.get("Gateway"):
                    return str(configured["Gateway"])
    raise BackendError(
        f"The engine at {engine.address} has no default bridge, by which containers could reach"
        " this server: give the target a web URL that they reach."
    )


@lru_cache(maxsize=16)
def _gpus(engine: Engine, period: int) -> tuple[tuple[Gpu, ...], str]:
    """Ask the driver's tool in a container, which the NVIDIA runtime puts into any image."""
    image = engine.access.gpu_base_image or engine.access.base_image
    with engine.asked("The GPUs could not be counted") as client:
        images = [image] if image else [str(one.id) for one in client.images.list()[:1]]
        if not images:
            return (), "GPUs are counted once there is an image: build an environment first."
        try:
            said = client.containers.run(
                images[0],
                QUERY,
                entrypoint=[],
                remove=True,
                labels={containers.INSTALLATION: engine.access.installation},
                device_requests=[DeviceRequest(count=-1, capabilities=[["gpu", "utility"]])],
                network_mode="none",
            )
        except (APIError, ContainerError, ImageNotFound) as error:
            log.warning("GPUs of %s: %s", engine.address, error)
            return (), f"The NVIDIA runtime is there, but its GPUs do not answer: {error}"[:300]
    return gpus_in(said.decode()), ""
