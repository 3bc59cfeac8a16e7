"""The addresses of MLflow's protocol, below `mlflow/TEAM/`: who answers each."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, path

from models.mlflow import (
    artifacts,
    experiments,
    link_page,
    logged_models,
    metrics,
    run_data,
    run_search,
    runs,
)
from models.mlflow.requests import MlflowRequest
from models.mlflow.transport import Endpoint, not_an_endpoint, view_of
from workspace.models import Role

ROOT = "mlflow/<slug:slug>/"
API = "api/2.0/mlflow/"
READS = Role.VIEWER

ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST",
        "experiments/create",
        experiments.ExperimentCreate,
        experiments.create_experiment,
    ),
    Endpoint(
        "GET",
        "experiments/get",
        experiments.ExperimentGet,
        experiments.get_experiment,
        READS,
    ),
    Endpoint(
        "GET",
        "experiments/get-by-name",
        experiments.ExperimentGetByName,
        experiments.get_experiment_by_name,
        READS,
    ),
    Endpoint(
        "POST",
        "experiments/update",
        experiments.ExperimentUpdate,
        experiments.update_experiment,
    ),
    Endpoint(
        "POST",
        "experiments/delete",
        experiments.ExperimentGet,
        experiments.delete_experiment,
    ),
    Endpoint(
        "POST",
        "experiments/restore",
        experiments.ExperimentGet,
        experiments.undelete_experiment,
    ),
    Endpoint(
        "POST",
        "experiments/set-experiment-tag",
        experiments.ExperimentSetTag,
        experiments.set_experiment_tag,
    ),
    Endpoint(
        "POST",
        "experiments/delete-experiment-tag",
        experiments.ExperimentDeleteTag,
        experiments.delete_experiment_tag,
    ),
    Endpoint("POST", "runs/create", runs.RunCreate, runs.create_run),
    Endpoint("GET", "runs/get", run_data.OfRun, runs.get_run, READS),
    Endpoint("POST", "runs/update", runs.RunUpdate, runs.update_run),
    Endpoint("POST", "runs/delete", run_data.OfRun, runs.delete_run),
    Endpoint("POST", "runs/restore", run_data.OfRun, runs.restore_run),
    Endpoint(
        "POST",
        "runs/log-batch",
        run_data.LogBatch,
        run_data.log_batch,
        max_bytes=run_data.MAX_BATCH_BYTES,
    ),
    Endpoint("POST", "runs/log-metric", run_data.LogMetric, run_data.log_metric),
    Endpoint("POST", "runs/log-parameter", run_data.LogParam, run_data.log_param),
    Endpoint("POST", "runs/set-tag", run_data.SetTag, run_data.set_tag),
    Endpoint("POST", "runs/delete-tag", run_data.DeleteTag, run_data.delete_tag),
    Endpoint("POST", "runs/log-inputs", run_data.LogInputs, run_data.log_inputs),
    Endpoint("POST", "runs/log-model", run_data.LogModel, run_data.log_model),
    Endpoint("POST", "runs/search", run_search.RunsSearch, run_search.search_runs, READS),
    *(
        Endpoint(
            method,
            "experiments/search",
            run_search.ExperimentsSearch,
            run_search.search_experiments,
            READS,
        )
        for method in ("GET", "POST")
    ),
    Endpoint(
        "POST", "logged-models/search", MlflowRequest, logged_models.search_logged_models, READS
    ),
    Endpoint("GET", "metrics/get-history", metrics.GetHistory, metrics.get_history, READS),
    Endpoint(
        "GET",
        "artifacts/list",
        artifacts.ArtifactsOfRun,
        artifacts.list_artifacts_of_run,
        READS,
    ),
)
ARTIFACTS = f"{ROOT}api/2.0/mlflow-artifacts/"
ARTIFACT_LIST = Endpoint(
    "GET", "artifacts", artifacts.ArtifactsBelow, artifacts.list_artifacts, READS
)
SERVER_INFO = Endpoint("GET", "server-info", MlflowRequest, link_page.server_info, READS)
FILES: dict[str, dict[str, Any]] = {
    "artifacts": {
        "PUT": (Role.MEMBER, artifacts.put_artifact),
        "GET": (READS, artifacts.get_artifact),
        "DELETE": (Role.MEMBER, artifacts.delete_artifact),
    },
    "mpu": {"POST": (Role.MEMBER, artifacts.not_offered)},
    "presigned": {"GET": (READS, artifacts.not_offered)},
}


def addresses() -> Iterator[URLPattern]:
    """Yield the addresses, with one for all that is not offered at the end."""
    by_path: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        methods = by_path.setdefault(f"{ROOT}{API}{endpoint.path}", {})
        methods[endpoint.method] = (endpoint.role, endpoint.answer)
    by_path[f"{ROOT}api/3.0/mlflow/server-info"] = {"GET": (READS, SERVER_INFO.answer)}
    by_path[f"{ARTIFACTS}artifacts"] = {"GET": (READS, ARTIFACT_LIST.answer)}
    for address, methods in by_path.items():
        yield path(address, view_of(methods))
    for address, methods in FILES.items():
        name = f"mlflow_{address}"
        yield path(f"{ARTIFACTS}{address}/<path:path>", view_of(methods), name=name)
    yield path(f"{ROOT}version", link_page.version)
    yield path(f"{ROOT}health", link_page.health)
    yield path(ROOT, link_page.links, name="mlflow")
    yield path(f"{ROOT}<path:path>", not_an_endpoint)
