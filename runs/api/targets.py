"""What happens on compute targets over REST: who holds what, and past use."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any

from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from runs.models import Run
from runs.scheduling.target_usage import DAYS, holders_of, usage_by_day
from workspace.accounts.selectors import team_for
from workspace.models import ComputeTarget, Team
from workspace.platform.requests import ApiRequest
from workspace.targets.selectors import target_for
from workspace.targets.states import target_status

router = Router(tags=["compute targets"])
MOST_DAYS = 366


class HolderOut(Schema):
    team: str
    run: int | None = Field(description="Null for a service, and for runs of other teams.")
    service: str
    user: str
    node: str
    processes: int
    cpus: float
    memory_bytes: int
    gpus: list[str]
    since: datetime


class DayOut(Schema):
    day: date
    runs: int
    process_hours: float
    cpu_hours: float
    gpu_hours: float


@router.get(
    "teams/{slug}/targets/{name}/holders",
    response=list[HolderOut],
    summary="Who holds resources of a target",
)
def list_holders(request: ApiRequest, slug: str, name: str) -> list[dict[str, Any]]:
    team, target = _asked(request, slug, name)
    return [
        {
            **_who(team, holder.team, holder.run),
            "service": holder.service if holder.team == team else "",
            "node": holder.node,
            "processes": holder.processes,
            "cpus": holder.cpus,
            "memory_bytes": holder.memory_bytes,
            "gpus": list(holder.gpus),
            "since": holder.since,
        }
        for holder in holders_of(target, target_status(target).nodes)
    ]


@router.get(
    "teams/{slug}/targets/{name}/use",
    response=list[DayOut],
    summary="Daily use of a target, newest first",
)
def list_use(
    request: ApiRequest,
    slug: str,
    name: str,
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = DAYS,
) -> list[dict[str, Any]]:
    _, target = _asked(request, slug, name)
    return [
        {**asdict(day), "runs": len(day.runs)} for day in usage_by_day(target, timezone.now(), days)
    ]


def _asked(request: ApiRequest, slug: str, name: str) -> tuple[Team, ComputeTarget]:
    team = team_for(request.auth, slug)
    return team, target_for(team, name)


def _who(asking: Team, team: Team, run: Run | None) -> dict[str, Any]:
    """Name the team, and to that team alone its run and the run's author."""
    told = run if team == asking else None
    author = told.created_by if told else None
    return {
        "team": team.slug,
        "run": told.number if told else None,
        "user": author.get_username() if author else "",
    }
