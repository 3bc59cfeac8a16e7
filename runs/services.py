"""What people and runners do to runs: submit, preview, cancel, report. Each one transaction."""

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import Field

from runs.config import RunConfig, parse_valid_fields
from runs.config_fields import RUN_NAME_LENGTH, RunName
from runs.deletion import enqueue_deletion
from runs.distribution import Mode
from runs.events import RunCancelRequested, RunSubmitted, record
from runs.files.resume import resumable_run
from runs.launch.cluster import PlannedProcess, mpirun_command_text, processes_of, tf_config
from runs.models import Run, Snapshot
from runs.preflight.findings import PreflightFinding
from runs.search.parameters import store_parameters
from runs.selectors import bounded_key, next_run_number, run_with_key
from runs.states import UNFINISHED, RunStatus
from runs.submit_check import check_submission
from runs.tracking import EndedStatus, end_tracked_run, experiment_of_new_run, status_errors
from workspace.audit import audit
from workspace.environments.services import encrypted_login
from workspace.models import Team
from workspace.platform import wakeup
from workspace.platform.errors import Conflict, FieldError, Invalid
from workspace.platform.validation import StrictModel
from workspace.tags import (
    DESCRIPTION,
    TAG_CHANGES,
    Description,
    TagChanges,
    changed_tags,
)


@dataclass(frozen=True)
class SubmitPreview:
    """What a configuration would mean, or why it would be refused."""

    errors: list[FieldError] = field(default_factory=list)
    findings: list[PreflightFinding] = field(default_factory=list)
    processes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def refusals(self) -> list[PreflightFinding]:
        return [finding for finding in self.findings if finding.level == "refuse"]

    @property
    def warnings(self) -> list[PreflightFinding]:
        return [finding for finding in self.findings if finding.level == "warn"]


def preview(*, team: Team, by: User, snapshot: Snapshot, config: object) -> SubmitPreview:
    """Return what `config` would start, without writing anything."""
    found = check_submission(team=team, by=by, snapshot=snapshot, config=config)
    if found.errors:
        return SubmitPreview(errors=found.errors, findings=found.findings)
    parsed, target = found.accepted
    return SubmitPreview(
        findings=found.findings, processes=_shown(parsed, processes_of(parsed, target.kind))
    )


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

    With a key that was used before, the run of that time is given again; raises Conflict where it
    is another one. Raises Invalid with every error at once; a refusal of the preflight is one of
    them unless `force` is set.
    """
    key = bounded_key(idempotency_key)
    if earlier := _submitted_with(key, team, snapshot, config):
        return earlier
    found = check_submission(team=team, by=by, snapshot=snapshot, config=config)
    refusals = [] if force else [f for f in found.findings if f.level == "refuse"]
    if found.errors or refusals:
        message = (
            "The configuration has errors."
            if found.errors
            else "The run is expected to fail. Fix the errors, or submit with `force`."
        )
        expected = [FieldError(f.field, f"{f.message} {f.remedy}".strip()) for f in refusals]
        raise Invalid(message, errors=[*found.errors, *expected])
    parsed, target = found.accepted
    try:
        with transaction.atomic():
            number = next_run_number(team)
            experiment = experiment_of_new_run(team, parsed.experiment)
            run = Run.objects.create(
                team=team,
                number=number,
                experiment=experiment,
                snapshot=snapshot,
                target=target,
                created_by=by,
                config=parsed.to_row(),
                name=parsed.name,
                description=parsed.description,
                tags=parsed.tags,
                warnings=[_as_json(finding) for finding in found.findings],
                priority=target.default_priority if parsed.priority is None else parsed.priority,
                idempotency_key=key,
                resumed_from=resumable_run(team, parsed.resume_from),
                encrypted_image_login=encrypted_login(parsed.image_login),
            )
            store_parameters(run, parsed.script_params)
            record(run, RunSubmitted(by=by.username))
            audit(team=team, actor=by, action="run.submit", subject=f"run {run.number}")
            transaction.on_commit(wakeup.send)
    except IntegrityError:
        if earlier := _submitted_with(key, team, snapshot, config):
            return earlier
        raise
    return run


def _submitted_with(key: str, team: Team, snapshot: Snapshot, config: object) -> Run | None:
    earlier = run_with_key(team, key)
    if earlier is None:
        return None
    if earlier.is_tracked:
        raise Conflict(
            f"Run {earlier.number} is tracked and was made with this Idempotency-Key. Use a new key"
            " for a new run."
        )
    parsed, errors = parse_valid_fields(config)
    # Its row may be of an older version, which had fewer fields.
    before = RunConfig.from_row(earlier.config).to_row()
    is_same = parsed is not None and _plain_json(parsed.to_row()) == _plain_json(before)
    if errors or not is_same or earlier.snapshot_id != snapshot.pk:
        raise Conflict(
            f"Run {earlier.number} was submitted with this Idempotency-Key, from another source or"
            " configuration. Use a new key for a new run; on the page, submit again."
        )
    return earlier


def _plain_json(row: dict[str, Any]) -> Any:
    return json.loads(json.dumps(row))


def request_cancel(run: Run, *, by: User) -> None:
    """Ask for the end of a run; the supervisor carries it out.

    Asked a second time, it kills the processes and ends the run at once. More do no harm.
    """
    if run.is_over:
        raise Conflict(f"Run {run.number} has already ended: {run.status}.")
    if run.is_tracked:
        _cancel_tracked_run(run, by=by)
        return
    now = timezone.now()
    with transaction.atomic():
        unfinished = Run.objects.filter(pk=run.pk, status__in=UNFINISHED)
        if unfinished.filter(cancel_requested_at=None).update(cancel_requested_at=now):
            event = RunCancelRequested(by=by.username)
        elif unfinished.filter(kill_requested_at=None).update(kill_requested_at=now):
            event = RunCancelRequested(by=by.username, at_once=True)
        else:
            event = None
        if event:
            record(run, event)
            audit(team=run.team, actor=by, action="run.cancel", subject=f"run {run.number}")
            transaction.on_commit(wakeup.send)
    run.refresh_from_db()


@transaction.atomic
def _cancel_tracked_run(run: Run, *, by: User) -> None:
    """End a tracked run at once: there are no processes to stop."""
    record(run, RunCancelRequested(by=by.username))
    audit(team=run.team, actor=by, action="run.cancel", subject=f"run {run.number}")
    end_tracked_run(run, RunStatus.CANCELED)


class RunChange(StrictModel):
    """Changes of a run. What is not given stays as it is."""

    name: RunName | None = Field(default=None, description=f"At most {RUN_NAME_LENGTH} characters.")
    description: Description | None = Field(default=None, description=DESCRIPTION)
    tags: TagChanges | None = Field(default=None, description=TAG_CHANGES)
    archived: bool | None = Field(
        default=None, description="Whether lists leave the run out unless asked for it."
    )
    status: EndedStatus | None = Field(
        default=None, description="Ends a tracked run. The status of other runs cannot be set."
    )
    error: Description | None = Field(
        default=None, description="Why a tracked run failed; with the status Failed alone."
    )


@transaction.atomic
def change_run(*, run: Run, by: User, change: RunChange) -> None:
    """Change what people say of a run, or end a tracked one.

    Several who change different tags at once all succeed.
    """
    locked = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
    if errors := list(status_errors(change.status, change.error)):
        raise Invalid.of(*errors)
    changes: dict[str, Any] = {}
    if change.name is not None:
        changes["name"] = change.name
    if change.description is not None:
        changes["description"] = change.description
    if change.tags is not None:
        changes["tags"] = changed_tags(locked.tags, change.tags)
    if change.archived is not None and change.archived != bool(locked.archived_at):
        changes["archived_at"] = timezone.now() if change.archived else None
    ends = change.status is not None and end_tracked_run(
        locked, RunStatus(change.status), change.error or ""
    )
    if not changes and not ends:
        return
    if changes:
        Run.objects.filter(pk=run.pk).update(**changes)
    told = change.model_dump(exclude_unset=True)
    audit(team=run.team, actor=by, action="run.change", subject=f"run {run.number}", **told)


@transaction.atomic
def delete_run(run: Run, *, by: User) -> None:
    """Take a run that is over out of sight; a worker then deletes its files, logs and metrics.

    Its models stay. Raises Conflict while it is not over, or another run resumes from it.
    """
    locked = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
    if not locked.is_over:
        raise Conflict(f"Run {run.number} is {locked.status}: cancel it first.")
    resumes = locked.resumed_by.filter(status__in=UNFINISHED).order_by("number").first()
    if resumes is not None:
        raise Conflict(f"Run {resumes.number} resumes from run {run.number}: wait for its end.")
    if locked.deleted_at is None:
        Run.objects.filter(pk=run.pk).update(deleted_at=timezone.now(), idempotency_key="")
        audit(team=run.team, actor=by, action="run.delete", subject=f"run {run.number}")
        transaction.on_commit(partial(enqueue_deletion, run.pk))


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
                "mpirun": mpirun_command_text(config) if process.role == "launcher" else "",
            }
        )
    return shown


def _as_json(finding: PreflightFinding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "field": finding.field,
        "message": finding.message,
        "remedy": finding.remedy,
        "path": finding.path,
        "line": finding.line,
    }
