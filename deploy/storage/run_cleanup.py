"""Which runs go to free the disk: those that a person selects, and those that a team's rules name.

Only runs that are over go, and none with the tag `keep`. Their models stay.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import QuerySet, Sum
from django.utils import timezone

from runs.deletion import delete_runs
from runs.models import Run
from runs.states import TERMINAL
from workspace.models import Team
from workspace.retention import days_ago
from workspace.sizes import size_text

KEEP_TAG = "keep"


@dataclass(frozen=True)
class RunSelection:
    """Runs to delete: all that is given must hold; `author` is a user name."""

    experiment: str = ""
    author: str = ""
    older_than_days: int | None = None
    larger_than_bytes: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == RunSelection()

    def runs(self, team: Team) -> QuerySet[Run]:
        """Return the runs, the largest first; those not measured yet have no size."""
        found = deletable_runs(team).select_related("experiment", "created_by", "team")
        if self.experiment:
            found = found.filter(experiment__name=self.experiment)
        if self.author:
            found = found.filter(created_by__username=self.author)
        if self.older_than_days is not None:
            found = found.filter(ended_at__lt=timezone.now() - timedelta(self.older_than_days))
        if self.larger_than_bytes is not None:
            found = found.filter(stored_bytes__gt=self.larger_than_bytes)
        return found.order_by("-stored_bytes", "number")


def deletable_runs(team: Team) -> QuerySet[Run]:
    """Return the runs of a team that are over and have no tag `keep`."""
    over = Run.objects.filter(team=team, deleted_at=None, status__in=TERMINAL)
    return over.exclude(tags__has_tag=(KEEP_TAG, None))


def delete_selected(team: Team, selection: RunSelection, *, by: User) -> int:
    """Delete the selected runs; return how many."""
    return delete_runs(
        list(selection.runs(team).values_list("pk", flat=True)),
        team=team,
        by=by,
        experiment=selection.experiment,
        author=selection.author,
        older_than_days=selection.older_than_days,
        larger_than_bytes=selection.larger_than_bytes,
    )


def apply_rules() -> None:
    """Delete what the rules of each team say: runs that are too old, then the oldest of too many.

    Sizes are as measured last.
    """
    for team in Team.objects.all():
        if team.keep_runs_days is not None:
            _delete_ended_before(team, days_ago(team.keep_runs_days))
        if team.keep_runs_bytes is not None:
            _delete_beyond(team, team.keep_runs_bytes)


def _delete_ended_before(team: Team, before: datetime) -> None:
    old = list(deletable_runs(team).filter(ended_at__lt=before).values_list("pk", flat=True))
    delete_runs(old, team=team, by=None, rule=f"ended over {team.keep_runs_days} days ago")


def _delete_beyond(team: Team, allowed: int) -> None:
    """Delete the runs that ended first, until all runs of a team are no larger than allowed."""
    runs = Run.objects.filter(team=team, deleted_at=None)
    excess = (runs.aggregate(total=Sum("stored_bytes"))["total"] or 0) - allowed
    oldest = deletable_runs(team).filter(stored_bytes__gt=0).order_by("ended_at", "pk")
    chosen: list[int] = []
    for pk, size in oldest.values_list("pk", "stored_bytes").iterator():
        if excess <= 0:
            break
        chosen.append(pk)
        excess -= size or 0
    delete_runs(chosen, team=team, by=None, rule=f"all runs used over {size_text(allowed)}")
