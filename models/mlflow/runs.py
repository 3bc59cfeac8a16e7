"""Runs in MLflow's protocol: made, read, ended, deleted and restored."""

from typing import Any, Literal

from django.db import transaction

from models.mlflow.experiments import active_experiment
from models.mlflow.ids import DEFAULT_ID, moment, run_with_id
from models.mlflow.requests import Id, Milliseconds, MlflowRequest, Text
from models.mlflow.run_data import OfRun, RunTag, locked_run, parent_number, put_tags
from models.mlflow.run_names import generated_name
from models.mlflow.run_output import NAME, NOTE, PARENT, run_info, run_json
from models.mlflow.transport import Caller
from runs.models import Run
from runs.services import RunChange, change_run
from runs.states import RunStatus
from runs.tracking import NewTrackedRun, end_tracked_run, track_run
from workspace.platform.validation import validate

ENDED = {
    "FINISHED": RunStatus.COMPLETED,
    "FAILED": RunStatus.FAILED,
    "KILLED": RunStatus.CANCELED,
}
FAILED_TEXT = "Its program reported that it failed."


class RunCreate(MlflowRequest):
    experiment_id: Id = DEFAULT_ID
    run_name: Text = ""
    start_time: Milliseconds = 0
    tags: list[RunTag] = []


class RunUpdate(OfRun):
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"] | None = None
    end_time: Milliseconds | None = None
    run_name: Text = ""


def create_run(caller: Caller, given: RunCreate) -> dict[str, Any]:
    experiment = active_experiment(caller.team, given.experiment_id)
    tags = {tag.key: tag.value for tag in given.tags}
    parent = parent_number(tags.pop(PARENT, ""))
    new = {
        "experiment": experiment.name,
        "name": given.run_name or tags.pop(NAME, "") or generated_name(),
        "description": tags.pop(NOTE, ""),
        "parent": parent,
    }
    tags.pop(NAME, None)
    started_at = moment(given.start_time) if given.start_time else None
    with transaction.atomic():
        run = track_run(
            team=caller.team,
            by=caller.user,
            given=validate(NewTrackedRun, new, name="run"),
            started_at=started_at,
        )
        put_tags(run, tags)
    return {"run": run_json(run_with_id(caller.team, str(run.number)))}


def get_run(caller: Caller, given: OfRun) -> dict[str, Any]:
    return {"run": run_json(run_with_id(caller.team, given.run_id))}


@transaction.atomic
def update_run(caller: Caller, given: RunUpdate) -> dict[str, Any]:
    """Rename a run, or end a tracked one; the processes of others decide their status."""
    run = locked_run(caller.team, given.run_id)
    if given.run_name:
        put_tags(run, {NAME: given.run_name})
    status = ENDED.get(given.status or "")
    if status is not None and run.is_tracked and not run.is_over:
        end_tracked_run(run, status, FAILED_TEXT if status == RunStatus.FAILED else "")
        if given.end_time:
            Run.objects.filter(pk=run.pk).update(ended_at=moment(given.end_time))
    return {"run_info": run_info(run_with_id(caller.team, given.run_id))}


def delete_run(caller: Caller, given: OfRun) -> dict[str, Any]:
    run = run_with_id(caller.team, given.run_id)
    change_run(run=run, by=caller.user, change=RunChange(archived=True))
    return {}


def restore_run(caller: Caller, given: OfRun) -> dict[str, Any]:
    run = run_with_id(caller.team, given.run_id)
    change_run(run=run, by=caller.user, change=RunChange(archived=False))
    return {}
