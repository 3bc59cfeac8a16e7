"""The REST API of experiments."""

from datetime import datetime
from typing import Annotated, Any

from ninja import Router, Schema

from runs import experiments
from runs.experiments import ExperimentOverview
from workspace.accounts.selectors import team_for
from workspace.models import Experiment, Role, Team
from workspace.platform.json_body import JsonBody
from workspace.platform.requests import ApiRequest

router = Router(tags=["experiments"])


class ExperimentOut(Schema):
    name: str
    description: str
    url: str
    run_count: int
    latest_run: int | None
    created_at: datetime

    @classmethod
    def of(cls, found: ExperimentOverview, team: Team) -> "ExperimentOut":
        return cls(
            name=found.experiment.name,
            description=found.experiment.description,
            url=f"/t/{team.slug}/experiments/{found.experiment.pk}/",
            run_count=found.run_count,
            latest_run=found.newest[0].number if found.newest else None,
            created_at=found.experiment.created_at,
        )


class ExperimentPage(Schema):
    experiments: list[ExperimentOut]
    next_cursor: str


@router.get("teams/{slug}/experiments", response=ExperimentPage)
def list_experiments(request: ApiRequest, slug: str, cursor: str = "") -> dict[str, Any]:
    """List experiments, the newest first."""
    team = team_for(request.auth, slug)
    page, next_cursor = experiments.experiments_after(team, cursor)
    return {
        "experiments": [ExperimentOut.of(found, team) for found in page],
        "next_cursor": next_cursor,
    }


@router.get("teams/{slug}/experiments/{path:name}", response=ExperimentOut)
def show_experiment(request: ApiRequest, slug: str, name: str) -> ExperimentOut:
    return _shown(_experiment(team_for(request.auth, slug), name))


@router.patch("teams/{slug}/experiments/{path:name}", response=ExperimentOut)
def change_experiment(
    request: ApiRequest,
    slug: str,
    name: str,
    payload: Annotated[experiments.ExperimentChange, JsonBody()],
) -> ExperimentOut:
    """Change an experiment's description."""
    found = _experiment(team_for(request.auth, slug, Role.MEMBER), name)
    experiments.change_experiment(experiment=found, by=request.auth, change=payload)
    return _shown(found)


def _experiment(team: Team, name: str) -> Experiment:
    return experiments.experiment_of(team, name=name.replace("\0", "?"))


def _shown(experiment: Experiment) -> ExperimentOut:
    one = Experiment.objects.filter(pk=experiment.pk)
    (overview,) = experiments.overviews_of(one, experiment.team)
    return ExperimentOut.of(overview, experiment.team)
