"""Rejects at submit what a target or a team on it could never run, with the numbers."""

from runs.config import RunConfig
from runs.launch.cluster import processes_of
from runs.scheduling.capacity import shortages
from runs.scheduling.inputs import resources_of
from runs.scheduling.resources import amount_text, total
from workspace.models import ComputeTarget, TargetGrant, Team
from workspace.platform.errors import FieldError

FIELD_OF_RESOURCE = {
    "gpus": "gpus_per_process",
    "cpus": "cpus_per_process",
    "memory_bytes": "memory_gb",
    "processes": "distributed_training",
}


def limit_errors(config: RunConfig, target: ComputeTarget, team: Team) -> list[FieldError]:
    """Return why a run could not start on a target however long it waits."""
    processes = [resources_of(process) for process in processes_of(config, target.kind)]
    gpus = int(total(processes).gpus)
    errors = [
        FieldError(FIELD_OF_RESOURCE[resource], message)
        for resource, message in shortages(target, processes)
    ]
    if config.priority is not None and config.priority > target.max_priority:
        errors.append(
            FieldError(
                "priority",
                f"{config.priority} is above {target.max_priority}, the highest priority that"
                f" target {target.name} allows.",
            )
        )
    if target.max_gpus_per_run is not None and gpus > target.max_gpus_per_run:
        errors.append(
            FieldError(
                "gpus_per_process",
                f"The run needs {amount_text('gpus', gpus)}; target {target.name} allows"
                f" {target.max_gpus_per_run} per run.",
            )
        )
    grant = TargetGrant.objects.filter(target=target, team=team).first()
    return errors + (_grant_errors(grant, gpus) if grant else [])


def _grant_errors(grant: TargetGrant, gpus: int) -> list[FieldError]:
    target, team = grant.target.name, grant.team.name
    errors = []
    if grant.max_runs == 0:
        errors.append(FieldError("compute_target", f"Team {team} may start no runs on {target}."))
    if grant.max_gpus is not None and gpus > grant.max_gpus:
        errors.append(
            FieldError(
                "gpus_per_process",
                f"The run needs {amount_text('gpus', gpus)}; team {team} is limited to"
                f" {grant.max_gpus} on {target}.",
            )
        )
    if gpus and grant.gpu_hours_a_month == 0:
        errors.append(FieldError("use_gpu", f"Team {team} has no GPU-hours on {target}."))
    return errors
