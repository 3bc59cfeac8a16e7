"""Experiments in MLflow's form: made, found, renamed, archived and tagged."""

from collections.abc import Mapping
from typing import Annotated, Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import Field

from models.mlflow.ids import (
    DEFAULT_NAME,
    default_experiment,
    experiment_id,
    experiment_with_id,
    milliseconds,
)
from models.mlflow.requests import Id, MlflowRequest, RequiredText, TagKey, Text
from models.mlflow.run_output import NOTE
from models.mlflow.transport import AlreadyExists, Caller
from runs.config_fields import EXPERIMENT_NAME, EXPERIMENT_NAME_HINT
from runs.experiments import archive_experiment, restore_experiment
from workspace.audit import audit
from workspace.models import Experiment, Team
from workspace.platform.errors import Invalid, NotFound
from workspace.tags import MAX_DESCRIPTION

MAX_TAG_VALUE = 20_000
MAX_TAGS = 200
TagValue = Annotated[Text, Field(max_length=MAX_TAG_VALUE)]


class ExperimentTag(MlflowRequest):
    key: TagKey
    value: TagValue = ""


class ExperimentCreate(MlflowRequest):
    name: RequiredText
    tags: list[ExperimentTag] = []


class ExperimentGet(MlflowRequest):
    experiment_id: Id


class ExperimentGetByName(MlflowRequest):
    experiment_name: RequiredText


class ExperimentUpdate(ExperimentGet):
    new_name: Text = ""


class ExperimentSetTag(ExperimentGet):
    key: TagKey
    value: TagValue = ""


class ExperimentDeleteTag(ExperimentGet):
    key: TagKey


def create_experiment(caller: Caller, given: ExperimentCreate) -> dict[str, Any]:
    name = _valid_name(given.name, "name")
    _check_free(caller.team, name)
    tags = {tag.key: tag.value for tag in given.tags}
    try:
        with transaction.atomic():
            experiment = Experiment.objects.create(team=caller.team, name=name)
            _put_tags(experiment, tags)
            audit(team=caller.team, actor=caller.user, action="experiment.create", subject=name)
    except IntegrityError:
        raise _taken(name) from None
    return {"experiment_id": experiment_id(experiment)}


def get_experiment(caller: Caller, given: ExperimentGet) -> dict[str, Any]:
    return {"experiment": as_json(experiment_with_id(caller.team, given.experiment_id))}


def get_experiment_by_name(caller: Caller, given: ExperimentGetByName) -> dict[str, Any]:
    name = given.experiment_name.strip()
    if name == DEFAULT_NAME:
        return {"experiment": as_json(default_experiment(caller.team))}
    found = Experiment.objects.filter(team=caller.team, name=name).first()
    if found is None:
        raise NotFound(f"Could not find experiment with name '{given.experiment_name[:500]}'")
    return {"experiment": as_json(found)}


def update_experiment(caller: Caller, given: ExperimentUpdate) -> dict[str, Any]:
    experiment = active_experiment(caller.team, given.experiment_id)
    if not given.new_name:
        return {}
    name = _valid_name(given.new_name, "new_name")
    if name == experiment.name:
        return {}
    if experiment.name == DEFAULT_NAME:
        raise Invalid(f"The experiment {DEFAULT_NAME} cannot be renamed.")
    _check_free(caller.team, name)
    try:
        with transaction.atomic():
            _change(experiment, name=name)
            audit(
                team=caller.team,
                actor=caller.user,
                action="experiment.change",
                subject=experiment.name,
                name=name,
            )
    except IntegrityError:
        raise _taken(name) from None
    return {}


def delete_experiment(caller: Caller, given: ExperimentGet) -> dict[str, Any]:
    experiment = active_experiment(caller.team, given.experiment_id)
    if experiment.name == DEFAULT_NAME:
        raise Invalid(f"The experiment {DEFAULT_NAME} cannot be deleted.")
    archive_experiment(experiment=experiment, by=caller.user)
    return {}


def undelete_experiment(caller: Caller, given: ExperimentGet) -> dict[str, Any]:
    experiment = experiment_with_id(caller.team, given.experiment_id)
    if experiment.archived_at is None:
        raise NotFound(
            f"The experiment {given.experiment_id} is not deleted: there is nothing to restore."
        )
    restore_experiment(experiment=experiment, by=caller.user)
    return {}


@transaction.atomic
def set_experiment_tag(caller: Caller, given: ExperimentSetTag) -> dict[str, Any]:
    _put_tags(active_experiment(caller.team, given.experiment_id), {given.key: given.value})
    return {}


@transaction.atomic
def delete_experiment_tag(caller: Caller, given: ExperimentDeleteTag) -> dict[str, Any]:
    experiment = active_experiment(caller.team, given.experiment_id)
    if given.key not in tags_of(experiment):
        raise NotFound(f"No tag with name: {given.key} in experiment with id {given.experiment_id}")
    _put_tags(experiment, {given.key: None})
    return {}


def active_experiment(team: Team, given: str) -> Experiment:
    """Return an experiment that may be written. Raises Invalid for one that is deleted."""
    experiment = experiment_with_id(team, given)
    if experiment.archived_at is not None:
        raise Invalid(
            f"The experiment {given} must be in the 'active' state. Current state is deleted."
        )
    return experiment


def as_json(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment_id": experiment_id(experiment),
        "name": experiment.name,
        "artifact_location": f"mlflow-artifacts:/{experiment_id(experiment)}",
        "lifecycle_stage": "active" if experiment.archived_at is None else "deleted",
        "creation_time": milliseconds(experiment.created_at),
        "last_update_time": milliseconds(experiment.changed_at),
        "tags": [{"key": key, "value": value} for key, value in tags_of(experiment).items()],
    }


def tags_of(experiment: Experiment) -> dict[str, str]:
    note = {NOTE: experiment.description} if experiment.description else {}
    return {**experiment.tags, **note}


def _put_tags(experiment: Experiment, tags: Mapping[str, str | None]) -> None:
    """Set tags, None removing one; that of MLflow's notes is the description."""
    locked = Experiment.objects.select_for_update().get(pk=experiment.pk)
    changes: dict[str, Any] = {}
    if NOTE in tags:
        description = tags[NOTE] or ""
        if len(description) > MAX_DESCRIPTION:
            raise Invalid(f"{NOTE}: Use at most {MAX_DESCRIPTION:,} characters.")
        changes["description"] = description.strip()
    merged = {**locked.tags, **{key: value for key, value in tags.items() if key != NOTE}}
    kept = {key: value for key, value in merged.items() if value is not None}
    if len(kept) > MAX_TAGS:
        raise Invalid(f"tags: An experiment has at most {MAX_TAGS} tags.")
    _change(experiment, tags=kept, **changes)


def _change(experiment: Experiment, **changes: Any) -> None:
    Experiment.objects.filter(pk=experiment.pk).update(changed_at=timezone.now(), **changes)


def _valid_name(name: str, field: str) -> str:
    if not EXPERIMENT_NAME.fullmatch(name):
        raise Invalid(f"Invalid value for parameter '{field}': use {EXPERIMENT_NAME_HINT}.")
    return name.strip()


def _check_free(team: Team, name: str) -> None:
    if name == DEFAULT_NAME:
        default_experiment(team)
    if Experiment.objects.filter(team=team, name=name).exists():
        raise _taken(name)


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        f"Experiment '{name}' already exists in this team, maybe as a deleted one: choose another"
        " name, or restore it."
    )
