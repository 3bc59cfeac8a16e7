"""Which revisions of a service run, and which of them are asked. Pure functions.

A deployment is a rollout: the newest revision starts beside the one that serves, and takes over
once it is verified, which means that all of its replicas passed the smoke test at the same time.
If it fails, the newest one before it that is verified goes on. Revisions with a weight share the
requests instead; one with a weight of 0 is stopped, though it may be the newest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

# With automatic rollback the revision before stays up for so long, to be gone back to at once.
ROLLBACK_WINDOW = timedelta(minutes=2)
ALL_TRAFFIC = 100


@dataclass(frozen=True)
class RevisionView:
    """A revision as one look shows it; `ready` counts its replicas that may be asked."""

    pk: int
    number: int
    wanted: int = 1
    ready: int = 0
    weight: int | None = None
    is_shadow: bool = False
    verified_at: datetime | None = None
    has_failed: bool = False

    @property
    def is_ready(self) -> bool:
        return self.ready >= self.wanted

    @property
    def is_servable(self) -> bool:
        return self.verified_at is not None and not self.has_failed


@dataclass(frozen=True)
class RolloutPlan:
    """What is to run: `target` is what people asked for last, `asked` all that is to serve with it.

    `fallback` may serve in place of the newest of these. `ends_split` says that a newer revision
    has taken over from some that shared the requests.
    """

    target: RevisionView
    asked: tuple[RevisionView, ...]
    running: tuple[RevisionView, ...]
    fallback: RevisionView | None = None
    ends_split: bool = False

    @property
    def serving(self) -> tuple[RevisionView, ...]:
        """Return those that requests go to, or will once a replica of theirs is ready."""
        mine = tuple(one for one in self.asked if one.is_servable)
        return mine or tuple(one for one in self.running if one.is_servable and not one.is_shadow)


def plan_rollout(
    revisions: Sequence[RevisionView], *, now: datetime, keeps_previous: bool = False
) -> RolloutPlan:
    """Return which of a service's revisions, the newest first, are to have replicas."""
    shadows = tuple(one for one in revisions if one.is_shadow)
    others = [one for one in revisions if not one.is_shadow] or list(revisions)
    target, split = others[0], tuple(one for one in others if one.weight)
    if target.weight is not None and split:
        running = (*split, *_kept_until_ready(split, others), *shadows)
        fallback = next((one for one in split[1:] if one.is_servable), None)
        return RolloutPlan(split[0], split, running, fallback)
    if target.is_servable:
        asked = (target,)
        is_young = target.verified_at is not None and now - target.verified_at <= ROLLBACK_WINDOW
        before = _before(target, others)
        earlier = before if keeps_previous and is_young else _kept_until_ready(asked, others)
        return RolloutPlan(
            target,
            asked,
            (target, *earlier, *shadows),
            fallback=before[0] if before else None,
            ends_split=any(one.weight is not None for one in others),
        )
    earlier = split or _before(target, others)
    if not any(one.ready for one in earlier):
        earlier += tuple(one for one in others if one.ready and one not in (target, *earlier))
    may_go = target.has_failed and any(one.is_ready for one in earlier)
    mine = () if may_go else (target,)
    return RolloutPlan(target, (target,), (*mine, *earlier, *shadows))


def _before(target: RevisionView, others: Sequence[RevisionView]) -> tuple[RevisionView, ...]:
    """Return the newest revision before one that could serve, if there is any."""
    return next(((one,) for one in others if one.number < target.number and one.is_servable), ())


def _kept_until_ready(
    asked: Sequence[RevisionView], others: Sequence[RevisionView]
) -> tuple[RevisionView, ...]:
    """Return those that answer now and are to no longer, until what is asked for is there."""
    is_settled = all(one.is_ready or one.has_failed for one in asked)
    if is_settled and any(one.ready or not one.has_failed for one in asked):
        return ()
    return tuple(one for one in others if one not in asked and one.ready)


def traffic_split(ready: Sequence[RevisionView]) -> dict[int, int]:
    """Return the percentage of requests that each revision takes, by its pk, if any.

    Only revisions with replicas that are ready are to be given: what one of a split cannot take,
    the others do.
    """
    others = sorted((one for one in ready if not one.is_shadow), key=lambda one: -one.number)
    if not others:
        return {}
    good = [one for one in others if one.is_servable]
    if not good:
        best = next((one for one in others if one.verified_at), others[0])
        return {best.pk: ALL_TRAFFIC}
    if good[0].weight is None:
        return {good[0].pk: ALL_TRAFFIC}
    split = {one.pk: one.weight for one in good if one.weight}
    return split or {good[0].pk: ALL_TRAFFIC}


def scale_weights(weights: Mapping[int, int], total: int) -> dict[int, int]:
    """Return whole percentages in the proportion of some weights, which sum to a total."""
    whole = sum(weights.values())
    exact = {key: weight * total / whole for key, weight in weights.items()}
    floors = {key: int(share) for key, share in exact.items()}
    by_rest = sorted(exact, key=lambda key: floors[key] - exact[key])
    for key in by_rest[: total - sum(floors.values())]:
        floors[key] += 1
    return floors
