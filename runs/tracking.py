"""Tracked runs: a program elsewhere reports them, and Trainyard starts nothing for them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import Field

from runs.config_fields import RUN_NAME_LENGTH, ExperimentName, RunName
from runs.events import RunSubmitted, record
from runs.lifecycle import conclude, finalize
from runs.models import Run
from runs.selectors import bounded_key, next_run_number, run_with_key, runs_of
from runs.states import EndReason, RunStatus
from workspace.audit import audit
from workspace.models import Experiment, Team
from workspace.platform.errors import Conflict, FieldError, Invalid
from workspace.platform.validation import StrictModel
from workspace.tags import DESCRIPTION, TAGS, Description, Tags

MAX_DEPTH = 10
EndedStatus = Literal["Completed", "Failed", "Canceled"]
REASONS = {
    RunStatus.COMPLETED: EndReason.REPORTED_COMPLETED,
    RunStatus.FAILED: EndReason.REPORTED_FAILED,
    RunStatus.CANCELED: EndReason.CANCELED,
}


class NewTrackedRun(StrictModel):
    """A run without processes, which is Running until it is ended."""

    experiment: ExperimentName = Field(
        description="Name of the experiment, which groups runs that you compare. A new name"
        " creates an experiment."
    )
    name: RunName = Field(default="", description=f"At most {RUN_NAME_LENGTH} characters.")
    description: Description = Field(default="", description=DESCRIPTION)
    tags: Tags = Field(default={}, description=TAGS)
    parent: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description=f"Number of the run that it belongs to; chains have at most {MAX_DEPTH} runs.",
    )


def track_run(
    *,
    team: Team,
    by: User,
    given: NewTrackedRun,
    idempotency_key: str = "",
    started_at: datetime | None = None,
) -> Run:
    """Make a tracked run. With a key that was used before, the run of that time is returned."""
    key = bounded_key(idempotency_key)
    if earlier := _tracked_with(key, team, given):
        return earlier
    parent = parent_with_number(team, given.parent)
    started_at = started_at or timezone.now()
    try:
        with transaction.atomic():
            number = next_run_number(team)
            experiment = experiment_of_new_run(team, given.experiment)
            run = Run.objects.create(
                team=team,
                number=number,
                experiment=experiment,
                parent=parent,
                created_by=by,
                config={},
                name=given.name,
                description=given.description,
                tags=given.tags,
                idempotency_key=key,
                status=RunStatus.RUNNING,
                created_at=started_at,
                running_at=started_at,
            )
            record(run, RunSubmitted(by=by.username))
            audit(team=team, actor=by, action="run.track", subject=f"run {run.number}")
    except IntegrityError:
        if earlier := _tracked_with(key, team, given):
            return earlier
        raise
    return run


def status_errors(status: EndedStatus | None, error: str | None) -> Iterator[FieldError]:
    if error is not None and status != RunStatus.FAILED.value:
        yield FieldError("error", f"Give it with the status {RunStatus.FAILED} alone.")


@transaction.atomic
def end_tracked_run(run: Run, status: RunStatus, error: str = "") -> bool:
    """End a tracked run; return whether it was not ended so before.

    Raises Conflict for a run with processes, and for one that has ended otherwise.
    """
    if not run.is_tracked:
        raise Conflict(
            f"The status of run {run.number} follows from its processes and cannot be set. Cancel"
            " the run to end it."
        )
    if run.is_over:
        if run.status == status:
            return False
        raise Conflict(f"Run {run.number} has already ended: {run.status}.")
    finalize(run, REASONS[status], message=error)
    conclude(run)
    return True


def experiment_of_new_run(team: Team, name: str) -> Experiment:
    """Return an experiment by its name, made or put back into lists where needed."""
    experiment, _ = Experiment.objects.get_or_create(team=team, name=name)
    if experiment.archived_at is not None:
        Experiment.objects.filter(pk=experiment.pk).update(archived_at=None)
    return experiment


def parent_with_number(team: Team, number: int | None) -> Run | None:
    """Return the run that another one is to belong to. Raises Invalid where that cannot be."""
    if number is None:
        return None
    parent = runs_of(team).filter(number=number).first()
    if parent is None:
        raise Invalid.of(FieldError("parent", f"{team.name} has no run {number}."))
    depth, above = 1, parent
    while above.parent is not None and depth < MAX_DEPTH:
        depth, above = depth + 1, above.parent
    if depth == MAX_DEPTH:
        raise Invalid.of(
            FieldError(
                "parent",
                f"Run {number} is {MAX_DEPTH} runs deep already: choose one above it.",
            )
        )
    return parent


def _tracked_with(key: str, team: Team, given: NewTrackedRun) -> Run | None:
    earlier = run_with_key(team, key)
    if earlier is None:
        return None
    parent = earlier.parent.number if earlier.parent else None
    asked = (earlier.is_tracked, earlier.experiment.name, parent)
    if asked != (True, given.experiment, given.parent):
        raise Conflict(
            f"Run {earlier.number} was submitted with this Idempotency-Key, as another run. Use a"
            " new key for a new run."
        )
    return earlier
