"""The state of a service and the delay before a replica restarts. Pure functions."""

from dataclasses import dataclass
from datetime import timedelta

from deploy.models import ServiceState

CRASH_WINDOW = timedelta(seconds=60)
MAX_CONSECUTIVE_CRASHES = 5
MAX_BACKOFF = timedelta(seconds=60)
SCALED_TO_ZERO = "Scaled to zero: no recent requests. The next request starts a replica."


@dataclass(frozen=True)
class ServiceView:
    """A service as the reconciler sees it; counts are of replicas."""

    is_wanted: bool
    wanted: int
    ready: int
    previous_ready: int = 0
    previous_is_scaled_to_zero: bool = False
    unhealthy: int = 0
    living: int = 0
    was: ServiceState = ServiceState.TRANSITIONING
    revision: int = 1
    preparing: str = ""
    failure: str = ""
    problem: str = ""


def state_of(seen: ServiceView) -> tuple[ServiceState, str]:
    """Return a service's state and the reason, in a sentence where there is one."""
    if not seen.is_wanted:
        if seen.living:
            return ServiceState.TRANSITIONING, "Stopping."
        return ServiceState.STOPPED, ""
    if seen.failure:
        return _failed(seen)
    if seen.ready >= seen.wanted and not seen.unhealthy:
        return ServiceState.HEALTHY, "" if seen.wanted else SCALED_TO_ZERO
    why = seen.problem or seen.preparing or "The model is being loaded."
    if _has_lost_something(seen):
        return ServiceState.UNHEALTHY, _joined(_count(seen), why)
    return ServiceState.TRANSITIONING, _joined(_rollout(seen), why)


def _has_lost_something(seen: ServiceView) -> bool:
    """Tell a service that was well, and is no longer, from one that is still on its way."""
    if seen.previous_ready:
        return False
    is_hurt = bool(seen.unhealthy or seen.problem)
    return seen.was == ServiceState.UNHEALTHY or (seen.was == ServiceState.HEALTHY and is_hurt)


def _failed(seen: ServiceView) -> tuple[ServiceState, str]:
    if seen.previous_ready:
        return ServiceState.UNHEALTHY, _joined(
            f"Revision {seen.revision} failed; the previous revision still serves.", seen.failure
        )
    if seen.ready:
        return ServiceState.UNHEALTHY, _joined(_count(seen), seen.failure)
    if seen.previous_is_scaled_to_zero:
        return ServiceState.UNHEALTHY, _joined(
            f"Revision {seen.revision} failed; the previous revision is scaled to zero.",
            seen.failure,
        )
    return ServiceState.FAILED, seen.failure


def _rollout(seen: ServiceView) -> str:
    if seen.previous_ready:
        return f"Revision {seen.revision} is starting; the previous revision still serves."
    return _count(seen) if seen.wanted > 1 and seen.ready else ""


def _count(seen: ServiceView) -> str:
    return f"{seen.ready} of {seen.wanted} replicas {'is' if seen.ready == 1 else 'are'} ready."


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def restart_backoff(consecutive_crashes: int) -> timedelta:
    """Return how long to wait before the next replica is started, longer each time."""
    if consecutive_crashes == 0:
        return timedelta(0)
    return min(timedelta(seconds=2 ** (consecutive_crashes - 1)), MAX_BACKOFF)
