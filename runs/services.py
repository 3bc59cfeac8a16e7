"""What people and runners do to runs: submit, preview, cancel, report. Each one transaction."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from runs import preflight, snapshots
from runs.cluster import PlannedProcess, mpirun_line, processes_of, tf_config
from runs.config import CONTAINER_FIELDS, Mode, RunConfig, parse
from runs.environments import requirements_in, spec_of
from runs.events import record
from runs.models import Run, Snapshot
from runs.refusals import refusals
from runs.resuming import earlier_run
from runs.states import UNFINISHED
from workspace import bell
from workspace.compute.base import BackendError
from workspace.compute.local_machine import NO_MPIRUN, has_mpirun
from workspace.environments import sealed_login
from workspace.errors import Conflict, FieldError, Invalid
from workspace.models import ComputeTarget, Experiment, TargetKind, Team
from workspace.selectors import targets_for, use_problem
from workspace.services import audit
from workspace.target_states import nodes_of

# Fields that name a file of the source directory, and how such files end.
SOURCE_FILES = {
    "entry_script": (".py",),
    "pip_requirements_file": (".txt",),
    "conda_dependencies_file": (".yml", ".yaml"),
}


@dataclass(frozen=True)
class Preview:
    """What a configuration would mean, or why it would be refused."""

    errors: list[FieldError] = field(default_factory=list)
    findings: list[preflight.Finding] = field(default_factory=list)
    processes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def refusals(self) -> list[preflight.Finding]:
        return [finding for finding in self.findings if finding.level == "refuse"]

    @property
    def warnings(self) -> list[preflight.Finding]:
        return [finding for finding in self.findings if finding.level == "warn"]


def preview(*, team: Team, by: User, snapshot: Snapshot, config: object) -> Preview:
    """Say what `config` would start, without writing anything."""
    try:
        parsed, target, findings = _examine(team=team, by=by, snapshot=snapshot, config=config)
    except Invalid as invalid:
        return Preview(errors=list(invalid.errors))
    return Preview(findings=findings, processes=_shown(parsed, processes_of(parsed, target.kind)))


def submit_run(
    *,
    team: Team,
    by: User,
    snapshot: Snapshot,
    config: object,
    force: bool = False,
    idempotency_key: str = "",
) -> Run:
    """Write a queued run and ring for it.

    With a key that was used before, the run of that time is given again. Raises Invalid with every
    error at once; a refusal of the preflight is one of them unless `force` is set.
    """
    if idempotency_key:
        earlier = Run.objects.filter(team=team, idempotency_key=idempotency_key).first()
        if earlier:
            return earlier
    parsed, target, findings = _examine(team=team, by=by, snapshot=snapshot, config=config)
    refusals = [finding for finding in findings if finding.level == "refuse"]
    if refusals and not force:
        raise Invalid(
            "The run would fail. Mend it, or submit it all the same with force.",
            errors=[FieldError(f.field, f"{f.message} {f.remedy}".strip()) for f in refusals],
        )
    try:
        with transaction.atomic():
            Team.objects.select_for_update().get(pk=team.pk)
            newest = Run.objects.filter(team=team).aggregate(Max("number"))["number__max"]
            experiment, _ = Experiment.objects.get_or_create(team=team, name=parsed.experiment)
            run = Run.objects.create(
                team=team,
                number=(newest or 0) + 1,
                experiment=experiment,
                snapshot=snapshot,
                target=target,
                created_by=by,
                config=parsed.to_row(),
                warnings=[_as_json(finding) for finding in findings],
                priority=target.default_priority if parsed.priority is None else parsed.priority,
                idempotency_key=idempotency_key,
                resumed_from=earlier_run(team, parsed.resume_from),
                sealed_image_login=sealed_login(parsed.image_login),
            )
            record(run, "run.submitted", by=by.username)
            audit(team=team, actor=by, action="run.submit", subject=f"run {run.number}")
            transaction.on_commit(bell.ring)
    except IntegrityError:
        if not idempotency_key:
            raise
        return Run.objects.get(team=team, idempotency_key=idempotency_key)
    return run


def request_cancel(run: Run, *, by: User) -> None:
    """Ask for the end of a run; the supervisor carries it out. Repeating it does no harm."""
    if run.is_over:
        raise Conflict(f"Run {run.number} is over already: it is {run.status}.")
    with transaction.atomic():
        asked = Run.objects.filter(
            pk=run.pk, status__in=UNFINISHED, cancel_requested_at=None
        ).update(cancel_requested_at=timezone.now())
        if asked:
            record(run, "run.cancel_requested", by=by.username)
            audit(team=run.team, actor=by, action="run.cancel", subject=f"run {run.number}")
            transaction.on_commit(bell.ring)
    run.refresh_from_db()


def _examine(
    *, team: Team, by: User, snapshot: Snapshot, config: object
) -> tuple[RunConfig, ComputeTarget, list[preflight.Finding]]:
    """Read a configuration and hold it against the target and the snapshot.

    Raises Invalid with every error that parsing, the target and the snapshot show together.
    """
    errors: list[FieldError] = []
    try:
        parsed = parse(config)
    except Invalid as invalid:
        raise Invalid(
            "The configuration has errors.",
            errors=[*invalid.errors, *_missing_files(snapshot, config)],
        ) from None
    target = targets_for(team).filter(name=parsed.compute_target).first()
    if target is None:
        names = ", ".join(targets_for(team).values_list("name", flat=True))
        errors.append(
            FieldError("compute_target", f"There is no such target. This team has: {names}.")
        )
    else:
        problem = use_problem(target, team, by)
        if problem:
            errors.append(FieldError("compute_target", problem))
        errors += _target_errors(parsed, target, team)
    errors += _missing_files(snapshot, config)
    try:
        earlier_run(team, parsed.resume_from)
    except Invalid as invalid:
        errors += invalid.errors
    files = snapshots.read(snapshot)
    if not errors:
        try:
            spec_of(parsed, files, parsed.image_login)
        except Invalid as invalid:
            errors += invalid.errors
    if errors or target is None:
        raise Invalid("The configuration has errors.", errors=errors)
    return (
        parsed,
        target,
        preflight.check(
            files,
            {
                "entry_script": parsed.entry_script,
                "framework_version": parsed.framework_version,
                "mode": parsed.mode.value,
                "pip_packages": list(parsed.pip_packages),
                "requirements": requirements_in(parsed, files),
                "environment_variables": parsed.environment_variables,
                "use_gpu": parsed.use_gpu,
            },
        ),
    )


def _target_errors(config: RunConfig, target: ComputeTarget, team: Team) -> list[FieldError]:
    """Refuse what the target could never run, with the numbers."""
    errors = []
    if not TargetKind(target.kind).has_containers:
        errors += [
            FieldError(
                name, f"Target {target.name} runs no containers: leave {name} out, or use another."
            )
            for name in CONTAINER_FIELDS
            if getattr(config, name)
        ]
        if config.mode == Mode.MPI and not has_mpirun():
            errors.append(FieldError("distributed_training.type", NO_MPIRUN))
    if config.node_count > 1 and config.mode != Mode.MPI:
        errors += _too_many_nodes(config, target)
    return errors + refusals(config, target, team)


def _too_many_nodes(config: RunConfig, target: ComputeTarget) -> list[FieldError]:
    """Refuse more nodes than a target has; one that does not answer now may have them."""
    try:
        nodes = len(nodes_of(target))
    except BackendError:
        return []
    if config.node_count <= nodes:
        return []
    words = f"{config.node_count} nodes are asked for; target {target.name} has {nodes}."
    return [FieldError("node_count", words)]


def _missing_files(snapshot: Snapshot, config: object) -> list[FieldError]:
    if not isinstance(config, Mapping):
        return []
    files = snapshots.read(snapshot)
    errors = []
    for name, ending in SOURCE_FILES.items():
        path = config.get(name)
        if isinstance(path, str) and path and path.removeprefix("./") not in files:
            scripts = sorted(p for p in files if p.endswith(ending))
            offered = f" It has: {', '.join(scripts[:5])}." if scripts else ""
            errors.append(
                FieldError(name, f"{path[:200]} is not in the source directory.{offered}")
            )
    return errors


def _shown(config: RunConfig, processes: list[PlannedProcess]) -> list[dict[str, Any]]:
    """Describe planned processes for the preview; addresses are known only at the start."""
    addresses = {p.name: f"{p.name}:PORT" for p in processes if p.listens}
    shown = []
    for process in processes:
        cluster = tf_config(process, addresses) if config.mode != Mode.MPI else None
        shown.append(
            {
                "name": process.name,
                "role": process.role,
                "cpus": process.cpus,
                "memory_bytes": process.memory_bytes,
                "gpus": process.gpus,
                "tf_config": json.loads(cluster) if cluster else None,
                "mpirun": mpirun_line(config) if process.role == "launcher" else "",
            }
        )
    return shown


def _as_json(finding: preflight.Finding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "field": finding.field,
        "message": finding.message,
        "remedy": finding.remedy,
        "path": finding.path,
        "line": finding.line,
    }
