"""The launch plan: which processes a run has, and what each is told. Pure functions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from runs.config import Mode, RunConfig

LEGACY_KERAS_FROM = (2, 16)


@dataclass(frozen=True)
class PlannedProcess:
    """One process of a run: its place in the cluster and the share of the target it needs."""

    role: str
    index: int
    listens: bool
    cpus: float | None
    memory_bytes: int | None
    gpus: int

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


@dataclass(frozen=True)
class Facts:
    """What a run's processes are told of the run they belong to."""

    run_id: str
    checkpoint_dir: str


def processes_of(config: RunConfig) -> list[PlannedProcess]:
    """List the processes of a run, the deciding one first."""
    is_cluster = config.distributed_training.process_count > 1
    return [
        PlannedProcess(
            role=role,
            index=index,
            listens=is_cluster and role != "evaluator",
            cpus=config.cpus_per_process,
            memory_bytes=config.memory_bytes,
            gpus=config.gpus_per_process if role != "ps" else 0,
        )
        for role, count in config.distributed_training.roles()
        for index in range(count)
    ]


def command_of(config: RunConfig) -> list[str]:
    return ["python", config.entry_script, *config.arguments()]


def tf_config(process: PlannedProcess, addresses: Mapping[str, str]) -> str | None:
    """Give TF_CONFIG for one process, or None where it stays unset: a run of one process.

    `addresses` holds host:port by process name. The cluster is the same in every process; the
    evaluator is a task that the cluster does not list.
    """
    cluster: dict[str, list[str]] = {}
    for name, address in addresses.items():
        cluster.setdefault(name.rpartition("-")[0], []).append(address)
    if not cluster:
        return None
    return json.dumps(
        {
            "cluster": cluster,
            "task": {"type": process.role, "index": process.index},
            "environment": "cloud",
        }
    )


def environment_of(
    config: RunConfig, process: PlannedProcess, addresses: Mapping[str, str], facts: Facts
) -> dict[str, str]:
    """Give the environment variables of one process: the user's, then ours."""
    variables: dict[str, str] = {}
    version = tuple(int(part) for part in config.framework_version.split("."))
    if config.mode in {Mode.MULTI_WORKER, Mode.PARAMETER_SERVER} and version >= LEGACY_KERAS_FROM:
        variables["TF_USE_LEGACY_KERAS"] = "1"
    if config.mode == Mode.PARAMETER_SERVER:
        variables["GRPC_FAIL_FAST"] = "use_caller"
    variables |= config.environment_variables
    variables |= {
        "TRAINYARD_RUN_ID": facts.run_id,
        "TRAINYARD_ROLE": process.role,
        "TRAINYARD_INDEX": str(process.index),
        "TRAINYARD_CHECKPOINT_DIR": facts.checkpoint_dir,
    }
    cluster = tf_config(process, addresses)
    return variables if cluster is None else variables | {"TF_CONFIG": cluster}
