"""Experiments: what a team compares, their newest runs, and the best by a metric.

Archived and deleted runs do not count.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, F, FloatField, OuterRef, QuerySet, Subquery
from django.db.models.expressions import OrderBy
from django.utils import timezone
from pydantic import Field

from runs.models import MetricSeries, Run
from runs.selectors import runs_of
from workspace.audit import audit
from workspace.models import Experiment, Team
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.requests import is_whole_number
from workspace.platform.validation import StrictModel
from workspace.tags import DESCRIPTION, Description

EXPERIMENTS_ON_A_PAGE = 25
NEWEST_RUNS = 3
LISTED = {"deleted_at": None, "archived_at": None}


class MetricGoal(StrEnum):
    LOWEST = "lowest"
    HIGHEST = "highest"

    @property
    def best_first(self) -> OrderBy:
        value = F("last_value")
        return value.asc() if self == MetricGoal.LOWEST else value.desc()


@dataclass(frozen=True)
class ExperimentOverview:
    """An experiment with the number of its runs, and the newest of them."""

    experiment: Experiment
    run_count: int
    newest: list[Run]


class ExperimentChange(StrictModel):
    """Changes of an experiment. What is not given stays as it is."""

    description: Description | None = Field(default=None, description=DESCRIPTION)


def experiment_of(team: Team, **key: Any) -> Experiment:
    """Return an experiment of a team by `name` or `pk`."""
    found = Experiment.objects.filter(team=team, **key).select_related("team").first()
    if found is None:
        named = f" {key['name']!r}" if "name" in key else ""
        raise NotFound(f"{team.name} has no such experiment{named}.")
    return found


def experiments_after(team: Team, cursor: str) -> tuple[list[ExperimentOverview], str]:
    """Return a page of a team's experiments, the newest first, and the cursor of the next."""
    experiments = Experiment.objects.filter(team=team, archived_at=None).order_by("-pk")
    if cursor:
        if not is_whole_number(cursor, max_digits=18):
            raise Invalid.of(FieldError("cursor", "Use the cursor of the previous page."))
        experiments = experiments.filter(pk__lt=int(cursor))
    page = overviews_of(experiments[: EXPERIMENTS_ON_A_PAGE + 1], team)
    shown = page[:EXPERIMENTS_ON_A_PAGE]
    return shown, str(shown[-1].experiment.pk) if len(page) > len(shown) else ""


def overviews_of(experiments: QuerySet[Experiment], team: Team) -> list[ExperimentOverview]:
    """Return what lists show of experiments, with as few queries for many as for one."""
    newest = Run.objects.filter(experiment=OuterRef("pk"), **LISTED).order_by("-number")
    places = {f"newest_{n}": Subquery(newest.values("pk")[n : n + 1]) for n in range(NEWEST_RUNS)}
    found: list[Any] = list(experiments.annotate(**places))
    keys = {one.pk: [getattr(one, place) for place in places] for one in found}
    runs = runs_of(team).in_bulk([key for some in keys.values() for key in some if key])
    counts = dict(
        Run.objects.filter(experiment__in=list(keys), **LISTED)
        .order_by()
        .values_list("experiment")
        .annotate(Count("pk"))
    )
    return [
        ExperimentOverview(
            one, counts.get(one.pk, 0), [runs[key] for key in keys[one.pk] if key in runs]
        )
        for one in found
    ]


def listed_runs(experiment: Experiment) -> QuerySet[Run]:
    """Return an experiment's runs, the newest first."""
    return runs_of(experiment.team).filter(experiment=experiment, **LISTED)


def metric_names(runs: list[Run]) -> list[str]:
    """Return the names of what these runs measured."""
    series = MetricSeries.objects.filter(run__in=runs, last_value__isnull=False)
    return list(series.order_by("name").values_list("name", flat=True).distinct())


def with_metric(runs: QuerySet[Run], metric: str, goal: MetricGoal) -> Any:
    """Annotate runs with `metric_value`: a metric's last value, the best of a run's processes."""
    series = MetricSeries.objects.filter(
        run=OuterRef("pk"), name=metric, last_value__isnull=False
    ).order_by(goal.best_first)
    value = Subquery(series.values("last_value")[:1], output_field=FloatField())
    return runs.annotate(metric_value=value)


def best_run(experiment: Experiment, metric: str, goal: MetricGoal) -> Run | None:
    """Return the run with the best last value of a metric, the first of those that are as good."""
    series = MetricSeries.objects.filter(
        run__experiment=experiment,
        run__deleted_at=None,
        run__archived_at=None,
        name=metric,
        last_value__isnull=False,
    )
    best = series.order_by(goal.best_first, "run__number").values_list("run", flat=True).first()
    found: Run | None = with_metric(listed_runs(experiment), metric, goal).filter(pk=best).first()
    return found


@transaction.atomic
def change_experiment(*, experiment: Experiment, by: User, change: ExperimentChange) -> None:
    if change.description is None:
        return
    Experiment.objects.filter(pk=experiment.pk).update(
        description=change.description, changed_at=timezone.now()
    )
    audit(
        team=experiment.team,
        actor=by,
        action="experiment.change",
        subject=experiment.name,
        description=change.description,
    )


@transaction.atomic
def archive_experiment(*, experiment: Experiment, by: User) -> None:
    """Take an experiment and its runs out of lists; its name stays taken."""
    now = timezone.now()
    active = Experiment.objects.filter(pk=experiment.pk, archived_at=None)
    if active.update(archived_at=now, changed_at=now):
        Run.objects.filter(experiment=experiment, **LISTED).update(archived_at=now)
        audit(team=experiment.team, actor=by, action="experiment.archive", subject=experiment.name)


@transaction.atomic
def restore_experiment(*, experiment: Experiment, by: User) -> None:
    """Put an experiment back into lists, with the runs that were archived along with it."""
    locked = Experiment.objects.select_for_update().get(pk=experiment.pk)
    if locked.archived_at is None:
        return
    along = Run.objects.filter(experiment=experiment, archived_at=locked.archived_at)
    along.update(archived_at=None)
    Experiment.objects.filter(pk=experiment.pk).update(archived_at=None, changed_at=timezone.now())
    audit(team=experiment.team, actor=by, action="experiment.restore", subject=experiment.name)
