"""The history of a metric in MLflow's form."""

from typing import Any

from pydantic import Field

from models.mlflow.ids import run_with_id
from models.mlflow.paging import page_token, start_of
from models.mlflow.requests import Integer, RequiredText, Text
from models.mlflow.run_data import OfRun
from models.mlflow.transport import Caller
from runs.metrics import store
from runs.metrics.logged import API
from runs.metrics.series import shown
from runs.models import MetricSeries, Run

MAX_POINTS = 25_000


class GetHistory(OfRun):
    metric_key: RequiredText
    max_results: Integer = Field(default=MAX_POINTS, ge=1, le=MAX_POINTS)
    page_token: Text = ""


def get_history(caller: Caller, given: GetHistory) -> dict[str, Any]:
    run = run_with_id(caller.team, given.run_id)
    query = ("history", run.pk, given.metric_key)
    start = start_of(given.page_token, query)
    series = _series(run, given.metric_key)
    points = list(store.read(series.pk)) if series else []
    stop = start + given.max_results
    answer: dict[str, Any] = {
        "metrics": [
            {
                "key": given.metric_key,
                "value": shown(point.value),
                "timestamp": point.at // 1000,
                "step": point.step,
            }
            for point in points[start:stop]
        ]
    }
    if stop < len(points):
        answer["next_page_token"] = page_token(stop, query)
    return answer


def _series(run: Run, name: str) -> MetricSeries | None:
    """Return the series that programs logged under a name, else that of the first process."""
    found = list(MetricSeries.objects.filter(run=run, name=name).order_by("process"))
    logged = [series for series in found if series.process == API]
    return next(iter([*logged, *found]), None)
