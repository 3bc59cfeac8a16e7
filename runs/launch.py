"""Turn a run into rows and plans: its environment, its processes, what a backend starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings
from django.db import transaction

from runs import snapshots
from runs.cluster import (
    Facts,
    command_of,
    environment_of,
    head_start_of,
    mpi_of,
    processes_of,
)
from runs.config import RunConfig
from runs.environments import spec_of
from runs.events import group_of_run
from runs.models import Process, ProcessGroup, Run
from runs.process_tokens import process_token
from workspace.compute.base import BackendError, GroupPlan, ProcessPlan
from workspace.compute.registry import backend_for
from workspace.environments import get_or_create, opened_login
from workspace.models import Environment, TargetKind
from workspace.tokens import digest_of

CHECKPOINTS_IN_CONTAINERS = "/trainyard/checkpoints"


def environment_for(run: Run) -> Environment:
    """Give the environment of a run, choosing it the first time."""
    if run.environment is None:
        config = RunConfig.from_row(run.config)
        login = opened_login(run.sealed_image_login)
        spec = spec_of(config, snapshots.read(run.snapshot), login)
        run.environment = get_or_create(run.target, spec)
        run.save(update_fields=["environment"])
    run.environment.refresh_from_db()
    return run.environment


def create_group(run: Run, environment: Environment) -> ProcessGroup:
    """Write the group of a run's next attempt: its processes where the queue placed them."""
    config = RunConfig.from_row(run.config)
    planned = processes_of(config, run.target.kind)
    number = run.attempts.count() + 1
    label = f"run-{run.pk}-{number}"
    bare = GroupPlan(
        label,
        environment.reference,
        tuple(
            ProcessPlan(
                process.role, process.index, {}, ports=int(process.listens), node=place["node"]
            )
            for process, place in zip(planned, run.placement, strict=True)
        ),
        _former_addresses(run),
    )
    addresses = {
        name: found[0] for name, found in backend_for(run.target).addresses(bare).items() if found
    }
    facts = Facts(str(run.number), checkpoint_dir(run))
    with transaction.atomic():
        group = ProcessGroup.objects.create(
            label=label,
            channel=group_of_run(run.pk),
            team=run.team,
            target=run.target,
            environment=environment,
            run=run,
            attempt=number,
            grace_seconds=config.grace_seconds,
        )
        for process, place in zip(planned, run.placement, strict=True):
            Process.objects.create(
                group=group,
                role=process.role,
                index=process.index,
                address=addresses.get(process.name, ""),
                node=place["node"],
                launch={
                    "command": command_of(config),
                    "environment": environment_of(config, process, addresses, facts),
                    "mpi": mpi_of(config, process, addresses),
                    "head_start_seconds": head_start_of(config, process, planned[0]),
                    "source": "snapshot",
                    "outputs": True,
                },
                cpus=process.cpus,
                memory_bytes=process.memory_bytes,
                gpus=place["gpus"],
                token_digest=digest_of(process_token(label, process.name)),
            )
    return group


def plan_of(group: ProcessGroup) -> GroupPlan:
    """Give what a backend needs to start a group, the same every time."""
    processes = list(group.processes.all())
    if group.environment is None:
        raise BackendError(f"The environment of {group.label} was removed.")
    return GroupPlan(
        group.label,
        group.environment.reference,
        tuple(_process_plan(group, process) for process in processes),
        _addresses(processes),
        "" if group.run is None else checkpoints_of(group.run),
    )


def checkpoints_of(run: Run) -> str:
    """Name what all attempts of a run share, for its backend."""
    return f"run-{run.pk}"


def checkpoint_dir(run: Run) -> str:
    """Give the folder, as the run's processes see it, that is kept across its attempts."""
    if TargetKind(run.target.kind).has_containers:
        return CHECKPOINTS_IN_CONTAINERS
    folder = Path(settings.TRAINYARD_HOME) / "runs" / str(run.pk) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _process_plan(group: ProcessGroup, process: Process) -> ProcessPlan:
    published = process.launch.get("published_ports", 0)
    return ProcessPlan(
        role=process.role,
        index=process.index,
        environment={
            "TRAINYARD_URL": group.target.web_url or settings.TRAINYARD_URL,
            "TRAINYARD_CA_BUNDLE": settings.TRAINYARD_CA_BUNDLE,
            "TRAINYARD_PROCESS_TOKEN": process_token(group.label, process.name),
        },
        cpus=process.cpus,
        memory_bytes=process.memory_bytes,
        gpus=tuple(process.gpus),
        ports=published or int(bool(process.address)),
        is_published=bool(published),
        node=process.node,
        shm_bytes=None if group.run is None else RunConfig.from_row(group.run.config).shm_bytes,
    )


def _former_addresses(run: Run) -> Mapping[str, Sequence[str]]:
    """Give the addresses of a run's last attempt, which the next one has again where it can."""
    group = run.attempts.order_by("attempt").last()
    return _addresses(list(group.processes.all())) if group else {}


def _addresses(processes: Sequence[Process]) -> Mapping[str, Sequence[str]]:
    return {process.name: [process.address] for process in processes if process.address}
