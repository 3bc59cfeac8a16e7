"""Runs in MLflow's form: attributes, the last value of each metric, parameters, tags, inputs."""

from collections.abc import Iterator, Sequence
from typing import Any

from models.mlflow.ids import artifact_uri, experiment_id, milliseconds
from runs.metrics.logged import API
from runs.metrics.series import shown
from runs.models import DatasetInput, MetricSeries, Run
from runs.search.parameters import parameters_of_runs
from runs.search.run_query import MLFLOW_STATUS
from runs.selectors import parent_of
from runs.states import RunStatus

NAME = "mlflow.runName"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
USER = "mlflow.user"
RUNS_AT_ONCE = 1000


def run_info(run: Run) -> dict[str, Any]:
    info = {
        "run_id": str(run.number),
        "run_uuid": str(run.number),
        "experiment_id": experiment_id(run.experiment),
        "run_name": run.name,
        "user_id": run.created_by.username if run.created_by else "",
        "status": MLFLOW_STATUS[RunStatus(run.status)],
        "start_time": milliseconds(run.created_at),
        "artifact_uri": artifact_uri(run),
        "lifecycle_stage": "active" if run.archived_at is None else "deleted",
    }
    if run.ended_at is not None:
        info["end_time"] = milliseconds(run.ended_at)
    return info


def tags_of(run: Run) -> dict[str, str]:
    """Return a run's tags with those that are its columns here."""
    parent = parent_of(run)
    columns = {
        NAME: run.name,
        NOTE: run.description,
        PARENT: str(parent.number) if parent else "",
    }
    author = {USER: run.created_by.username} if run.created_by else {}
    return {**author, **run.tags, **{key: value for key, value in columns.items() if value}}


def run_json(run: Run) -> dict[str, Any]:
    return next(runs_json([run]))


def runs_json(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Return runs with as few queries for many as for one."""
    for start in range(0, len(runs), RUNS_AT_ONCE):
        yield from _some_json(runs[start : start + RUNS_AT_ONCE])


def _some_json(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    keys = [run.pk for run in runs]
    parameters = parameters_of_runs(keys)
    metrics = _last_metrics(keys)
    inputs: dict[int, list[dict[str, Any]]] = {}
    for dataset in DatasetInput.objects.filter(run__in=keys).order_by("pk"):
        inputs.setdefault(dataset.run_id, []).append(_input_json(dataset))
    for run in runs:
        yield {
            "info": run_info(run),
            "data": {
                "metrics": metrics.get(run.pk, []),
                "params": _pairs(parameters[run.pk]),
                "tags": _pairs(tags_of(run)),
            },
            "inputs": {"dataset_inputs": inputs.get(run.pk, [])},
        }


def _last_metrics(keys: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    held = MetricSeries.objects.filter(run__in=keys, last_step__isnull=False)
    chosen: dict[tuple[int, str], MetricSeries] = {}
    for series in held.order_by("name", "process"):
        place = series.run_id, series.name
        if place not in chosen or series.process == API:
            chosen[place] = series
    found: dict[int, list[dict[str, Any]]] = {}
    for (run, name), series in chosen.items():
        metric = {
            "key": name,
            "value": shown(series.last_value),
            "timestamp": milliseconds(series.last_at) if series.last_at else 0,
            "step": series.last_step,
        }
        found.setdefault(run, []).append(metric)
    return found


def _input_json(dataset: DatasetInput) -> dict[str, Any]:
    return {
        "tags": _pairs(dataset.tags),
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "source_type": dataset.source_type,
            "source": dataset.source,
            "schema": dataset.schema,
            "profile": dataset.profile,
        },
    }


def _pairs(texts: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in texts.items()]
