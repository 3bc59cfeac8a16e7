"""What the state of a service is, given what is wanted and what is there. Pure functions."""

from dataclasses import dataclass
from datetime import timedelta

from deploy.models import ServiceState

QUICK = timedelta(seconds=60)
MOST_QUICK_DEATHS = 5
LONGEST_PAUSE = timedelta(seconds=60)
ASLEEP = "Nobody asked it for long, so no replica runs; the next request starts one."


@dataclass(frozen=True)
class Seen:
    """A service as one look at it shows it; counts are of replicas."""

    is_wanted: bool
    wanted: int
    ready: int
    ready_of_older: int = 0
    is_older_asleep: bool = False
    unhealthy: int = 0
    living: int = 0
    was: ServiceState = ServiceState.TRANSITIONING
    revision: int = 1
    preparing: str = ""
    failure: str = ""
    trouble: str = ""


def state_of(seen: Seen) -> tuple[ServiceState, str]:
    """Give a service's state and the reason, in a sentence where there is one."""
    if not seen.is_wanted:
        if seen.living:
            return ServiceState.TRANSITIONING, "Stopping."
        return ServiceState.STOPPED, ""
    if seen.failure:
        return _failed(seen)
    if seen.ready >= seen.wanted and not seen.unhealthy:
        return ServiceState.HEALTHY, "" if seen.wanted else ASLEEP
    why = seen.trouble or seen.preparing or "The model is being loaded."
    if _has_lost_something(seen):
        return ServiceState.UNHEALTHY, _joined(_count(seen), why)
    return ServiceState.TRANSITIONING, _joined(_rollout(seen), why)


def _has_lost_something(seen: Seen) -> bool:
    """Tell a service that was well, and is no longer, from one that is still on its way."""
    if seen.ready_of_older:
        return False
    is_hurt = bool(seen.unhealthy or seen.trouble)
    return seen.was == ServiceState.UNHEALTHY or (seen.was == ServiceState.HEALTHY and is_hurt)


def _failed(seen: Seen) -> tuple[ServiceState, str]:
    if seen.ready_of_older:
        return ServiceState.UNHEALTHY, _joined(
            f"Revision {seen.revision} failed; the one before it still serves.", seen.failure
        )
    if seen.ready:
        return ServiceState.UNHEALTHY, _joined(_count(seen), seen.failure)
    if seen.is_older_asleep:
        return ServiceState.UNHEALTHY, _joined(
            f"Revision {seen.revision} failed; the one before it sleeps until it is asked.",
            seen.failure,
        )
    return ServiceState.FAILED, seen.failure


def _rollout(seen: Seen) -> str:
    if seen.ready_of_older:
        return f"Revision {seen.revision} is starting; the one before it still serves."
    return _count(seen) if seen.wanted > 1 and seen.ready else ""


def _count(seen: Seen) -> str:
    return f"{seen.ready} of {seen.wanted} replicas {'is' if seen.ready == 1 else 'are'} ready."


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def pause_after(quick_deaths: int) -> timedelta:
    """Give how long to wait before the next replica is started, longer each time."""
    if quick_deaths == 0:
        return timedelta(0)
    return min(timedelta(seconds=2 ** (quick_deaths - 1)), LONGEST_PAUSE)
