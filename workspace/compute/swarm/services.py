"""The service that runs one process on a swarm: what the manager is asked to create."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from docker.types import (
    ConfigReference,
    ContainerSpec,
    EndpointSpec,
    Healthcheck,
    Mount,
    NetworkAttachmentConfig,
    Placement,
    Resources,
    RestartPolicy,
    SecretReference,
    TaskTemplate,
)

from runner.constants import SETTINGS_FILE
from workspace.compute.base import ProcessPlan
from workspace.compute.containers import (
    CHECKPOINT_FOLDER,
    COMMAND,
    MAX_PIDS,
    PROCESS_DIRECTORY,
    USER,
    USER_ID,
    VARIABLES,
    memory_limit,
    ports_of,
)

NANO = 1e9
OWNER = str(USER_ID)
SETTINGS = f"{PROCESS_DIRECTORY}/{SETTINGS_FILE}"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount point in the container
# For what runs when an admin drains a node: a stop of ours goes to the runner over its own line.
STOP_GRACE = timedelta(seconds=10)


@dataclass(frozen=True)
class SwarmFile:
    """A file that the swarm keeps, and puts into containers: a secret or a config."""

    id: str
    name: str


def service_of(
    name: str,
    process: ProcessPlan,
    *,
    image: str,
    labels: Mapping[str, str],
    constraints: Sequence[str],
    network: str,
    settings: SwarmFile,
    configs: Mapping[str, SwarmFile],
    checkpoints: str = "",
) -> dict[str, Any]:
    """Return the arguments of `create_service`. `configs` are by their path in the container.

    `checkpoints`: the folder of every node that its processes share, if any.
    """
    container = ContainerSpec(
        image,
        command=list(COMMAND),
        workdir="/",
        healthcheck=Healthcheck(test=["NONE"]),
        user=USER,
        hostname=process.name,
        labels=dict(labels),
        env=[*(f"{name}={value}" for name, value in VARIABLES.items()), *_gpu_variables(process)],
        mounts=_mounts(process, checkpoints),
        stop_grace_period=int(STOP_GRACE.total_seconds() * NANO),
        secrets=[SecretReference(settings.id, settings.name, SETTINGS, OWNER, OWNER, 0o400)],
        configs=[
            ConfigReference(config.id, config.name, path, OWNER, OWNER, 0o444)
            for path, config in configs.items()
        ],
        cap_drop=["ALL"],
    )
    task = TaskTemplate(
        container,
        resources=_resources(process),
        restart_policy=RestartPolicy("none"),
        placement=Placement(constraints=list(constraints)),
        networks=[NetworkAttachmentConfig(network, aliases=[process.name])],
    )
    return {
        "task_template": task,
        "name": name,
        "labels": dict(labels),
        "endpoint_spec": EndpointSpec(
            mode="dnsrr",
            ports=[_published(port) for port in ports_of(process)],
        ),
    }


def _published(port: int) -> dict[str, Any]:
    """Open a port on the node that the task is on, at a number that this node chooses."""
    return {"Protocol": "tcp", "TargetPort": port, "PublishMode": "host"}


def _gpu_variables(process: ProcessPlan) -> list[str]:
    """Name the GPUs to NVIDIA's runtime, in both ways in which a node may be set up to hear it.

    They are not reserved with the swarm: it ends the tasks that reserve generic resources whenever
    anything about their node changes.
    """
    if not process.gpus:
        return ["NVIDIA_VISIBLE_DEVICES=void"]
    given = ",".join(process.gpus)
    return [f"NVIDIA_VISIBLE_DEVICES={given}", f"DOCKER_RESOURCE_GPU={given}"]


def _mounts(process: ProcessPlan, checkpoints: str) -> list[Mount]:
    mounts = [Mount(CHECKPOINT_FOLDER, checkpoints, "bind")] if checkpoints else []
    if process.shm_bytes is not None:
        size = process.shm_bytes
        mounts.append(Mount(SHARED_MEMORY, None, "tmpfs", tmpfs_size=size, tmpfs_mode=0o1777))
    return mounts


def _resources(process: ProcessPlan) -> Resources:
    """Limit a process to its share, and have the swarm keep that share for it."""
    cpus = None if process.cpus is None else int(process.cpus * NANO)
    memory = memory_limit(process)
    resources = Resources(
        cpu_limit=cpus, mem_limit=memory, cpu_reservation=cpus, mem_reservation=memory
    )
    resources.setdefault("Limits", {})["Pids"] = MAX_PIDS
    return resources
