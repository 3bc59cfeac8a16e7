"""The REST API that holds runs beside each other."""

from typing import Annotated, Any

from ninja import Query, Router, Schema

from runs.api.run_data import MaxPoints, Step
from runs.comparison import ComparedRow, chosen_runs, compare_runs
from runs.metrics import series as metrics
from workspace.accounts.selectors import may, team_for
from workspace.models import Role
from workspace.platform.errors import FieldError, Invalid
from workspace.platform.requests import ApiRequest

router = Router(tags=["runs"])


class ComparedRowOut(Schema):
    """What is known of each run, in the order of the request; null where nothing is."""

    name: str
    values: list[Any]
    differs: bool


class RunComparisonOut(Schema):
    runs: list[int]
    parameters: list[ComparedRowOut]
    metrics: list[ComparedRowOut]
    tags: list[ComparedRowOut]
    configuration: list[ComparedRowOut]
    environment: list[ComparedRowOut]
    source: list[ComparedRowOut]


@router.get("teams/{slug}/runs/compare", response=RunComparisonOut)
def compare(request: ApiRequest, slug: str, runs: str) -> dict[str, Any]:
    """Return what is known of 2 to 50 runs, such as 3,1,2, with what differs first.

    `metrics` are last values, `environment` versions of packages, `source` digests of files.
    """
    team = team_for(request.auth, slug)
    found = chosen_runs(team, runs)
    parts = compare_runs(found, for_viewer=not may(request.auth, team, Role.MEMBER))
    rows = {name: list(map(ComparedRow.to_json, part)) for name, part in parts.items()}
    return {"runs": [run.number for run in found], **rows}


@router.get("teams/{slug}/runs/compare/metrics")
def compare_metrics(
    request: ApiRequest,
    slug: str,
    runs: str,
    max_points: MaxPoints,
    name: str = "",
    first: Annotated[Step, Query(None, alias="from")] = None,
    last: Annotated[Step, Query(None, alias="to")] = None,
    names_only: bool = False,
) -> dict[str, Any]:
    """Return the metric `name` of 2 to 50 runs, each with the number of its run.

    With `names_only` the names of all metrics, without points.
    """
    if not (name or names_only):
        raise Invalid.of(FieldError("name", "Name a metric, or set names_only."))
    found = chosen_runs(team_for(request.auth, slug), runs)
    return {
        "series": [
            {"run": run.number, **metrics.as_json(one)}
            for run in found
            for one in metrics.series_of(
                run,
                name=name,
                max_points=max_points,
                max_total=metrics.MAX_TOTAL_POINTS // len(found),
                first=first,
                last=last,
                names_only=names_only,
            )
        ]
    }
