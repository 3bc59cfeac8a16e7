"""What a target or a team could never run there: refused at submit, with the numbers."""

from runs.capacity import cannot_hold, share_of
from runs.cluster import processes_of
from runs.config import RunConfig
from runs.queue_terms import total
from workspace.errors import FieldError
from workspace.models import ComputeTarget, TargetGrant, Team

FIELDS = {
    "gpus": "gpus_per_process",
    "cpus": "cpus_per_process",
    "memory_bytes": "memory_gb",
    "processes": "distributed_training",
}


def refusals(config: RunConfig, target: ComputeTarget, team: Team) -> list[FieldError]:
    """Give what speaks against a run on a target however long it would wait."""
    processes = [share_of(process) for process in processes_of(config, target.kind)]
    gpus = int(total(processes).gpus)
    errors = [
        FieldError(FIELDS[resource], words) for resource, words in cannot_hold(target, processes)
    ]
    if config.priority is not None and config.priority > target.max_priority:
        errors.append(
            FieldError(
                "priority",
                f"{config.priority} is above {target.max_priority}, the highest that target"
                f" {target.name} allows.",
            )
        )
    if target.max_gpus_per_run is not None and gpus > target.max_gpus_per_run:
        errors.append(
            FieldError(
                "gpus_per_process",
                f"The run needs {gpus} GPUs; a run may have {target.max_gpus_per_run} on target"
                f" {target.name}.",
            )
        )
    grant = TargetGrant.objects.filter(target=target, team=team).first()
    return errors + (_beyond_grant(grant, gpus) if grant else [])


def _beyond_grant(grant: TargetGrant, gpus: int) -> list[FieldError]:
    target, team = grant.target.name, grant.team.name
    errors = []
    if grant.max_runs == 0:
        errors.append(FieldError("compute_target", f"{team} may have no runs on {target} now."))
    if grant.max_gpus is not None and gpus > grant.max_gpus:
        errors.append(
            FieldError(
                "gpus_per_process",
                f"The run needs {gpus} GPUs; {team} may have {grant.max_gpus} on {target}.",
            )
        )
    if gpus and grant.gpu_hours_a_month == 0:
        errors.append(FieldError("use_gpu", f"{team} has no GPU-hours on {target}."))
    return errors
