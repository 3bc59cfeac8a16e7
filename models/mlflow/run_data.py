"""What programs log of a run: metrics, parameters, tags and datasets."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from django.db import transaction
from django.utils import timezone
from pydantic import AliasChoices, Field

from models.mlflow.ids import run_with_id
from models.mlflow.requests import (
    Id,
    Integer,
    Key,
    Milliseconds,
    MlflowRequest,
    Number,
    RequiredText,
    TagKey,
    Text,
)
from models.mlflow.run_output import NAME, NOTE, PARENT, tags_of
from models.mlflow.transport import Caller
from runs.metrics.logged import MAX_AT_ONCE, LoggedMetric, store_metrics
from runs.metrics.points import Point, microseconds
from runs.models import DatasetInput, Run, RunParameter
from runs.search.parameters import MAX_VALUE, number_in
from runs.services import RunChange
from runs.tracking import MAX_DEPTH, parent_with_number
from workspace.models import Team
from workspace.platform.errors import Invalid, NotFound, TooLarge
from workspace.platform.requests import is_whole_number
from workspace.platform.validation import validate
from workspace.tags import MAX_TAG_VALUE

MAX_BATCH_BYTES = 1_000_000
MAX_BATCH_PARAMS = 100
MAX_BATCH_TAGS = 100
MAX_INPUTS = 100
MAX_TAGS = 500
LOGGED_MODELS = "mlflow.log-model.history"
MAX_LOGGED_MODELS_TEXT = 100_000


class RunTag(MlflowRequest):
    key: TagKey
    value: Annotated[Text, Field(max_length=MAX_TAG_VALUE)] = ""


class RunParam(MlflowRequest):
    key: Key
    value: Annotated[Text, Field(max_length=MAX_VALUE)] = ""


class RunMetric(MlflowRequest):
    key: Key
    value: Number
    timestamp: Milliseconds | None = None
    step: Integer = 0


class OfRun(MlflowRequest):
    """A call about one run, whose id has two names."""

    run_id: Id = Field(validation_alias=AliasChoices("run_id", "run_uuid"))


class LogMetric(OfRun, RunMetric):
    pass


class LogParam(OfRun, RunParam):
    pass


class SetTag(OfRun, RunTag):
    pass


class DeleteTag(OfRun):
    key: TagKey


class LogBatch(OfRun):
    metrics: list[RunMetric] = Field(default=[], max_length=MAX_AT_ONCE)
    params: list[RunParam] = Field(default=[], max_length=MAX_BATCH_PARAMS)
    tags: list[RunTag] = Field(default=[], max_length=MAX_BATCH_TAGS)


class Dataset(MlflowRequest):
    name: Annotated[RequiredText, Field(max_length=500)]
    digest: Annotated[RequiredText, Field(max_length=36)]
    source_type: Text = ""
    source: Annotated[Text, Field(max_length=65_535)] = ""
    schema_text: Annotated[Text, Field(max_length=1_048_575)] = Field(
        default="", validation_alias="schema"
    )
    profile: Annotated[Text, Field(max_length=16_777_215)] = ""


class LoggedDataset(MlflowRequest):
    dataset: Dataset
    tags: list[RunTag] = []


class LogInputs(OfRun):
    datasets: list[LoggedDataset] = Field(default=[], max_length=MAX_INPUTS)


class LogModel(OfRun):
    model_json: RequiredText


def log_batch(caller: Caller, given: LogBatch) -> dict[str, Any]:
    together = len(given.metrics) + len(given.params) + len(given.tags)
    if together > MAX_AT_ONCE:
        raise Invalid(
            f"A batch logging request can contain at most {MAX_AT_ONCE} metrics, params and tags"
            f" together. Got {together}. Send several batches."
        )
    keys = [param.key for param in given.params]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise Invalid(
            f"Duplicate parameter keys have been submitted: {doubled}. Please ensure the request"
            " contains only one param value per param key."
        )
    with transaction.atomic():
        run = locked_run(caller.team, given.run_id)
        _put_params(run, given.params)
        _put_metrics(run, given.metrics)
        put_tags(run, {tag.key: tag.value for tag in given.tags})
    return {}


@transaction.atomic
def log_metric(caller: Caller, given: LogMetric) -> dict[str, Any]:
    _put_metrics(locked_run(caller.team, given.run_id), [given])
    return {}


@transaction.atomic
def log_param(caller: Caller, given: LogParam) -> dict[str, Any]:
    _put_params(locked_run(caller.team, given.run_id), [given])
    return {}


@transaction.atomic
def set_tag(caller: Caller, given: SetTag) -> dict[str, Any]:
    put_tags(locked_run(caller.team, given.run_id), {given.key: given.value})
    return {}


@transaction.atomic
def delete_tag(caller: Caller, given: DeleteTag) -> dict[str, Any]:
    run = locked_run(caller.team, given.run_id)
    if given.key not in tags_of(run):
        raise NotFound(f"No tag with name: {given.key} in run with id {given.run_id}")
    put_tags(run, {given.key: None})
    return {}


@transaction.atomic
def log_inputs(caller: Caller, given: LogInputs) -> dict[str, Any]:
    """Note datasets that a run read; one that is noted already stays as it is."""
    run = locked_run(caller.team, given.run_id)
    DatasetInput.objects.bulk_create(
        [
            DatasetInput(
                run=run,
                name=one.dataset.name,
                digest=one.dataset.digest,
                source_type=one.dataset.source_type,
                source=one.dataset.source,
                schema=one.dataset.schema_text,
                profile=one.dataset.profile,
                tags={tag.key: tag.value for tag in one.tags},
            )
            for one in given.datasets
        ],
        ignore_conflicts=True,
    )
    return {}


@transaction.atomic
def log_model(caller: Caller, given: LogModel) -> dict[str, Any]:
    """Append what a client of MLflow 2 says of a model to the tag that holds all of them."""
    run = locked_run(caller.team, given.run_id)
    try:
        model = json.loads(given.model_json)
        history = json.loads(run.tags.get(LOGGED_MODELS, "[]"))
    except (ValueError, RecursionError):
        raise Invalid("Malformed model info. 'model_json' must be valid JSON.") from None
    text = json.dumps([*(history if isinstance(history, list) else []), model])
    if len(text) > MAX_LOGGED_MODELS_TEXT:
        raise TooLarge(
            f"The models of a run have at most {MAX_LOGGED_MODELS_TEXT:,} characters of metadata."
        )
    Run.objects.filter(pk=run.pk).update(tags={**run.tags, LOGGED_MODELS: text})
    return {}


def locked_run(team: Team, given: str) -> Run:
    """Return a run that nobody else writes until the transaction ends.

    Raises Invalid for one that is deleted, as MLflow calls those that are archived.
    """
    key = run_with_id(team, given).pk
    Run.objects.select_for_update().get(pk=key)
    run = run_with_id(team, given)
    check_active(run)
    return run


def check_active(run: Run) -> None:
    if run.archived_at is not None:
        raise Invalid(
            f"The run {run.number} must be in the 'active' state. Current state is deleted."
        )


def put_tags(run: Run, tags: Mapping[str, str | None]) -> None:
    """Set tags of a locked run, None removing one; some of MLflow's are columns here."""
    if not tags:
        return
    changes: dict[str, Any] = {}
    if NAME in tags or NOTE in tags:
        said = {"name": tags.get(NAME, run.name), "description": tags.get(NOTE, run.description)}
        valid = validate(RunChange, {key: value or "" for key, value in said.items()}, name="tags")
        changes |= {"name": valid.name, "description": valid.description}
    if PARENT in tags:
        changes["parent"] = _parent(run, tags[PARENT])
    columns = (NAME, NOTE, PARENT)
    merged = {**run.tags, **{key: value for key, value in tags.items() if key not in columns}}
    kept = {key: value for key, value in merged.items() if value is not None}
    if len(kept) > max(MAX_TAGS, len(run.tags)):
        raise Invalid(f"tags: A run has at most {MAX_TAGS} tags.")
    Run.objects.filter(pk=run.pk).update(tags=kept, **changes)


def parent_number(given: str | None) -> int | None:
    if not given:
        return None
    if not is_whole_number(given):
        raise Invalid(f"{PARENT}: There is no run {given[:100]!r}.")
    return int(given)


def _parent(run: Run, given: str | None) -> Run | None:
    parent = parent_with_number(run.team, parent_number(given))
    above, depth = parent, 0
    while above is not None and depth <= MAX_DEPTH:
        if above.pk == run.pk:
            raise Invalid(f"{PARENT}: Run {run.number} cannot be above itself.")
        above, depth = above.parent, depth + 1
    return parent


def _put_metrics(run: Run, metrics: Sequence[RunMetric]) -> None:
    if not metrics:
        return
    now = microseconds(timezone.now())
    logged = [
        LoggedMetric(
            metric.key,
            Point(
                metric.step,
                now if metric.timestamp is None else metric.timestamp * 1000,
                metric.value,
            ),
        )
        for metric in metrics
    ]
    store_metrics(run, logged)


def _put_params(run: Run, params: Sequence[RunParam]) -> None:
    """Set parameters of a locked run. Raises Invalid for each that has another value already."""
    given = {param.key: param.value for param in params}
    rows = RunParameter.objects.filter(run=run, name__in=given)
    held = dict(rows.values_list("name", "value"))
    changed = [
        "Changing param values is not allowed. Param with"
        f" key='{key}' was already logged with value='{held[key]}' for run ID='{run.number}'."
        f" Attempted logging new value '{value}'."
        for key, value in given.items()
        if held.get(key, value) != value
    ]
    if changed:
        raise Invalid(" ".join(changed))
    RunParameter.objects.bulk_create(
        RunParameter(run=run, name=key, value=value, number=number_in(value))
        for key, value in given.items()
        if key not in held
    )
