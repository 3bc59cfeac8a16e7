"""Environments that a team uses, and what uses an environment.

Everything is asked for each environment by itself, from an index: to join an environment with all
runs and groups that ever had it takes longer with every run.
"""

from typing import Any, cast

from django.db.models import (
    Count,
    DateTimeField,
    Exists,
    IntegerField,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce

from workspace.models import Environment, Team


def environments_of(team: Team) -> QuerySet[Environment]:
    """Return the environments that a team's runs and services use or used, the latest used first.

    `uses` counts what of all teams needs each now.
    """
    mine = Q(Exists(_users("runs").filter(team=team))) | Q(
        Exists(_users("groups").filter(team=team))
    )
    found: QuerySet[Environment] = with_uses(Environment.objects.filter(mine))
    return found.order_by("-last_used_at")


def with_uses(environments: QuerySet[Environment]) -> Any:
    """Annotate environments with `uses`: how many runs and groups need each now."""
    return environments.annotate(
        uses=_count(_users("runs").filter(ended_at=None))
        + _count(_users("groups").filter(removed_at=None))
    )


def with_last_ends(environments: QuerySet[Environment]) -> Any:
    """Annotate environments with when the last run and the last group that had each ended."""
    return environments.annotate(
        run_ended_at=_latest("runs", "ended_at"),
        group_removed_at=_latest("groups", "removed_at"),
    )


def _users(relation: str) -> QuerySet[Model]:
    """Return the rows, of an app above this one, that have the environment of the outer query."""
    model = cast("type[Model]", Environment._meta.get_field(relation).related_model)
    return model._default_manager.filter(environment=OuterRef("pk")).order_by()


def _count(rows: QuerySet[Model]) -> Coalesce:
    counted = rows.values("environment").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))


def _latest(model: str, ended_at: str) -> Subquery:
    ended = _users(model).filter(**{f"{ended_at}__isnull": False}).order_by(f"-{ended_at}")
    return Subquery(ended.values(ended_at)[:1], output_field=DateTimeField())
