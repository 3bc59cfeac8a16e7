"""How much of each limit, of targets and of teams on them, is used."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from runs.scheduling.requests import Allocation, PendingRun, SchedulingLimits
from runs.scheduling.resources import Resources

NO_RESOURCES = Resources()


@dataclass(eq=False)
class Quota:
    """A limit, what is used of it, and what the runs that wait for it need.

    `used` includes what is reserved for runs that wait for nodes. Behind a run that waits for the
    limit itself, others must fit beside all `queued_ahead`.
    """

    limit: Resources
    used: Resources = field(default_factory=Resources)
    ending: Resources = field(default_factory=Resources)
    queued_ahead: Resources | None = None

    def is_full_for(self, need: Resources) -> bool:
        return not (self.used + need).fits(self.limit)

    def stays_full_for(self, need: Resources, released: Resources = NO_RESOURCES) -> bool:
        """Return whether it is full even without these and the allocations that are ending."""
        if self.queued_ahead is not None and not (self.queued_ahead + need).fits(self.limit):
            return True
        return not (self.used - self.ending - released + need).fits(self.limit)

    def take(self, need: Resources) -> None:
        self.used += need
        if self.queued_ahead is not None:
            self.queued_ahead += need

    def queue(self, need: Resources) -> None:
        self.queued_ahead = (self.queued_ahead or Resources()) + need


QuotaUse = list[tuple[Quota, Resources]]


class Quotas:
    """The limits of all targets of a pool, and of the teams on them."""

    def __init__(self, limits: SchedulingLimits, allocations: Sequence[Allocation]) -> None:
        self._targets = {key: Quota(target.limit) for key, target in limits.targets.items()}
        self._teams = {key: Quota(quota.limit) for key, quota in limits.quotas.items()}
        for allocation in allocations:
            for quota, amount in self.of(allocation):
                quota.used += amount
                if allocation.is_ending:
                    quota.ending += amount

    def of(self, one: PendingRun | Allocation) -> QuotaUse:
        """Return the limits that a run or service counts under, and as how much.

        That of the target comes first.
        """
        found = []
        amount = one.need if isinstance(one, PendingRun) else one.resources
        target = self._targets.get(one.target_id)
        if target is not None:
            found.append((target, amount))
        team = self._teams.get((one.target_id, one.team_id))
        if team is not None:
            is_run = isinstance(one, PendingRun) or one.run_id is not None
            found.append((team, Resources(gpus=amount.gpus, processes=int(is_run))))
        return found
