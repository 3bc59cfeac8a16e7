"""The processes of a run: commands, TF_CONFIG, environment variables. Pure functions."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from runner.mpi import mpirun_command
from runs.config import RunConfig
from runs.distribution import Mode
from workspace.compute.registry import kind_info

MASTER_PORT = 6000
HEAD_START_SECONDS = 0.15
LEGACY_KERAS_FROM = (2, 16)
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class PlannedProcess:
    """One process of a run: its place in the cluster and the share of the target it needs.

    It runs so many `programs`: all ranks of a node, or none where it only starts those of others.
    """

    role: str
    index: int
    listens: bool
    cpus: float | None
    memory_bytes: int | None
    gpus: int
    programs: int = 1

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


@dataclass(frozen=True)
class ProcessFacts:
    """What a run's processes are told of the run they belong to."""

    run_id: str
    checkpoint_dir: str


def processes_of(config: RunConfig, kind: str) -> list[PlannedProcess]:
    """List the processes of a run on a target of this kind, the deciding one first."""
    if config.mode == Mode.MPI:
        return _mpi_processes(config, has_workers=kind_info(kind).has_mpi_workers)
    roles = config.distributed_training.roles()
    is_cluster = sum(count for _, count in roles) > 1
    return [
        PlannedProcess(
            role=role,
            index=index,
            listens=is_cluster and role != "evaluator",
            cpus=config.cpus_per_process,
            memory_bytes=config.memory_bytes,
            gpus=config.gpus_per_process if role != "ps" else 0,
        )
        for role, count in roles
        for index in range(count)
    ]


def _mpi_processes(config: RunConfig, *, has_workers: bool) -> list[PlannedProcess]:
    """List the launcher and a worker for each node; without workers the launcher has all ranks.

    What starts ranks gets the share of all of them.
    """
    hosts = config.node_count if has_workers else 0
    ranks = config.ranks // max(hosts, 1)
    return [
        PlannedProcess(
            role=role,
            index=index,
            listens=starts_ranks,
            cpus=_times(config.cpus_per_process, ranks) if starts_ranks else None,
            memory_bytes=_times(config.memory_bytes, ranks) if starts_ranks else None,
            gpus=config.gpus_per_process * ranks if starts_ranks else 0,
            programs=ranks if starts_ranks else 0,
        )
        for role, count in config.distributed_training.roles(hosts)
        for starts_ranks in [role == "worker" or not hosts]
        for index in range(count)
    ]


def head_start_of(config: RunConfig, process: PlannedProcess, first: PlannedProcess) -> float:
    """Return by how many seconds the program of the first process starts before this one's.

    A worker that looks for the first one before that listens tries again a second later (gRPC's
    first pause), so a moment here makes the first step come sooner.
    """
    return HEAD_START_SECONDS if config.mode == Mode.MULTI_WORKER and process != first else 0.0


def command_of(config: RunConfig) -> list[str]:
    return ["python", config.entry_script, *config.arguments()]


def mpi_of(
    config: RunConfig, process: PlannedProcess, addresses: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return what a runner is told of its part in an MPI run; its keys are added when it asks."""
    if config.mode != Mode.MPI:
        return None
    if process.role == "worker":
        return {"address": addresses[process.name]}
    slots = config.distributed_training.process_count_per_node
    hosts = [
        {"name": name, "address": address, "slots": slots}
        for name, address in addresses.items()
        if name != process.name
    ]
    return {"ranks": config.ranks, "hosts": hosts, "start_seconds": config.start_timeout_seconds}


def mpirun_command_text(config: RunConfig) -> str:
    """Return what an MPI launcher runs, as a person would write it."""
    return shlex.join(mpirun_command(config.ranks, "hosts", command_of(config)))


def tf_config(process: PlannedProcess, addresses: Mapping[str, str]) -> str | None:
    """Return TF_CONFIG for one process, or None where it stays unset: a run of one process.

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
    config: RunConfig, process: PlannedProcess, addresses: Mapping[str, str], facts: ProcessFacts
) -> dict[str, str]:
    """Return the environment variables of one process: the user's, then ours."""
    variables: dict[str, str] = {}
    version = tuple(int(part) for part in config.framework_version.split("."))
    if config.mode in {Mode.MULTI_WORKER, Mode.PARAMETER_SERVER} and version >= LEGACY_KERAS_FROM:
        variables["TF_USE_LEGACY_KERAS"] = "1"
    if config.mode == Mode.PARAMETER_SERVER:
        variables["GRPC_FAIL_FAST"] = "use_caller"
    if config.mode == Mode.MPI:
        variables["MPI4PY_MPIABI"] = "openmpi"
    variables |= config.environment_variables
    variables |= {
        "TRAINYARD_RUN_ID": facts.run_id,
        "TRAINYARD_ROLE": process.role,
        "TRAINYARD_INDEX": str(process.index),
        "TRAINYARD_CHECKPOINT_DIR": facts.checkpoint_dir,
    }
    if config.mode == Mode.MPI:
        return variables | {"AZ_BATCH_MASTER_NODE": _master_node(addresses)}
    cluster = tf_config(process, addresses)
    return variables if cluster is None else variables | {"TF_CONFIG": cluster}


def _master_node(addresses: Mapping[str, str]) -> str:
    """Return host:port of the first rank's node; no process of ours listens there."""
    if "worker-0" not in addresses:
        return addresses["launcher-0"]
    return f"{addresses['worker-0'].rpartition(':')[0]}:{MASTER_PORT}"


def _times(share: Number | None, count: int) -> Number | None:
    return None if share is None else share * count
