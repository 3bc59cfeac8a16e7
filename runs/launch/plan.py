"""Turn a run into rows and plans: its environment, its processes, what a backend starts."""

from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db import transaction

from runner.constants import CA_BUNDLE_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE
from runs.config import RunConfig
from runs.events import group_of_run
from runs.files.folders import attempt_label
from runs.launch.cluster import (
    ProcessFacts,
    command_of,
    environment_of,
    head_start_of,
    mpi_of,
    processes_of,
)
from runs.launch.environment_spec import spec_of
from runs.launch.process_secrets import process_token
from runs.launch.run_secrets import secrets_for_attempt
from runs.lifecycle import transition
from runs.models import Process, ProcessGroup, Run
from runs.source import snapshots
from runs.states import RunStatus
from workspace.accounts.tokens import digest_of
from workspace.compute.base import BackendError, GroupPlan, ProcessPlan
from workspace.environments.services import decrypted_login, get_or_create, renew_if_gone
from workspace.models import Environment
from workspace.targets.backends import backend_for


def environment_for(run: Run) -> Environment:
    """Return the environment of a run, choosing it the first time."""
    if run.environment is None:
        config = RunConfig.from_row(run.config)
        login = decrypted_login(run.encrypted_image_login)
        spec = spec_of(config, snapshots.read(run.source), login)
        run.environment = get_or_create(run.compute_target, spec, run.team)
        run.save(update_fields=["environment"])
        return run.environment
    run.environment.refresh_from_db()
    if run.compute_target.kind_info.is_this_machine:  # where a program may have changed it
        renew_if_gone(run.environment)
    return run.environment


def start_attempt(run: Run, environment: Environment) -> ProcessGroup:
    """Write the group of a run's next attempt, its processes where the queue placed them.

    The run moves to Starting with it: there is no group without, and no such run without a group.
    Raises SecretUnavailable where the run needs a secret that is gone.
    """
    config = RunConfig.from_row(run.config)
    planned = processes_of(config, run.compute_target.kind)
    number = run.attempts.count() + 1
    label = attempt_label(run.pk, number)
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
    backend = backend_for(run.compute_target)
    addresses = {name: found[0] for name, found in backend.addresses(bare).items() if found}
    secrets = secrets_for_attempt(run)
    facts = ProcessFacts(str(run.number), backend.checkpoint_folder(checkpoints_of(run)))
    with transaction.atomic():
        group = ProcessGroup.objects.create(
            label=label,
            channel=group_of_run(run.pk),
            team=run.team,
            target=run.compute_target,
            environment=environment,
            run=run,
            attempt=number,
            grace_seconds=config.grace_seconds,
            encrypted_secrets=secrets,
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
        transition(run, RunStatus.STARTING)
    return group


def plan_of(group: ProcessGroup) -> GroupPlan:
    """Return what a backend needs to start a group, the same every time."""
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


def _process_plan(group: ProcessGroup, process: Process) -> ProcessPlan:
    published = process.launch.get("published_ports", 0)
    return ProcessPlan(
        role=process.role,
        index=process.index,
        environment={
            URL_VARIABLE: group.target.web_url or settings.TRAINYARD_URL,
            CA_BUNDLE_VARIABLE: settings.TRAINYARD_CA_BUNDLE,
            TOKEN_VARIABLE: process_token(group.label, process.name),
        },
        cpus=process.cpus,
        memory_bytes=process.memory_bytes,
        gpus=tuple(process.gpus),
        ports=published or int(bool(process.address)),
        publish_ports=bool(published),
        loads_model=process.launch.get("source") == "model",
        node=process.node,
        shm_bytes=None if group.run is None else RunConfig.from_row(group.run.config).shm_bytes,
    )


def _former_addresses(run: Run) -> Mapping[str, Sequence[str]]:
    """Return the addresses of a run's last attempt, which the next one has again where it can."""
    group = run.attempts.order_by("attempt").last()
    return _addresses(list(group.processes.all())) if group else {}


def _addresses(processes: Sequence[Process]) -> Mapping[str, Sequence[str]]:
    return {process.name: [process.address] for process in processes if process.address}
