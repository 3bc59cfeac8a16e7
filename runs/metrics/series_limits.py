"""How many series a run may have, so that many alike take no room from what comes last."""

import re
from collections import Counter
from collections.abc import Iterable

from runs.models import LeftOutMetric, MetricSeries, Run

MAX_SERIES = 10_000
MAX_NAME_LENGTH = 250
# Names that differ in numbers or hashes alone, such as those of a sweep's trials.
MAX_ALIKE = 2000
# Room for names unlike the many.
KEPT_FREE = 500
FEW_ALIKE = 20
MOST_COUNTED = 20_000
PART_WITH_DIGIT = re.compile(r"[^/]*\d[^/]*")
WAY_OUT = "Put what varies into the step, not the name."


def family_of(name: str) -> str:
    """Return what a name has in common with those that differ in numbers or hashes."""
    return PART_WITH_DIGIT.sub("#", name)


class SeriesRoom:
    """What room a run has for more series, as of one look at those it has."""

    def __init__(self, run: Run) -> None:
        self._run = run
        names = MetricSeries.objects.filter(run=run).values_list("name", flat=True)
        self._alike = Counter(map(family_of, names))
        self._total = self._alike.total()

    def has_room_for(self, name: str) -> bool:
        if self._total >= MAX_SERIES:
            return False
        is_scarce = self._total >= MAX_SERIES - KEPT_FREE
        return self._alike[family_of(name)] < (FEW_ALIKE if is_scarce else MAX_ALIKE)

    def take(self, name: str) -> None:
        self._alike[family_of(name)] += 1
        self._total += 1

    def note_left_out(self, process: str, names: Iterable[str]) -> bool:
        """Count series that found no room; return whether they are the run's first."""
        left_out = LeftOutMetric.objects.filter(run=self._run)
        count = left_out.count()
        if count < MOST_COUNTED:
            LeftOutMetric.objects.bulk_create(
                [LeftOutMetric(run=self._run, process=process, name=name) for name in names],
                ignore_conflicts=True,
            )
        return count == 0


def left_out_of(run: Run) -> str:
    """Say how many series of a run are left out and why, or nothing where none is."""
    count = LeftOutMetric.objects.filter(run=run).count()
    if not count:
        return ""
    more = " or more" if count >= MOST_COUNTED else ""
    return (
        f"{count:,}{more} metrics are left out: a run may have {MAX_SERIES:,} metrics, of which"
        f" {MAX_ALIKE:,} may differ in numbers alone. {WAY_OUT}"
    )
