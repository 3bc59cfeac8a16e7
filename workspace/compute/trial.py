"""Trying a compute target step by step: what works, what does not, and what would mend it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workspace.compute.base import BackendError


class Outcome(StrEnum):
    PENDING = "pending"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Step:
    """One thing that was tried; the remedy is for one that failed."""

    name: str
    outcome: Outcome = Outcome.PENDING
    said: str = ""
    remedy: str = ""


class Failed(Exception):
    """A step failed; what comes after it may go on all the same unless it is `final`."""

    def __init__(self, said: str, remedy: str = "", *, is_final: bool = False) -> None:
        super().__init__(said)
        self.remedy = remedy
        self.is_final = is_final


class Skipped(Exception):
    """A step does not apply, and this says why."""


Tried = tuple[str, Callable[[], str]]


def walk(plan: Sequence[Tried]) -> Iterator[list[Step]]:
    """Take one step after the other; give all of them anew each time one is done."""
    steps = [Step(name) for name, _ in plan]
    yield list(steps)
    stopped_by = ""
    for number, (name, try_it) in enumerate(plan):
        if stopped_by:
            steps[number] = Step(name, Outcome.SKIPPED, f"Not tried: {stopped_by} failed.")
            continue
        try:
            steps[number] = Step(name, Outcome.OK, try_it())
        except Skipped as skipped:
            steps[number] = Step(name, Outcome.SKIPPED, str(skipped))
        except Failed as failed:
            steps[number] = Step(name, Outcome.FAILED, str(failed), failed.remedy)
            stopped_by = f"the step '{name}'" if failed.is_final else ""
        except BackendError as error:
            steps[number] = Step(name, Outcome.FAILED, str(error))
        yield list(steps)
    yield list(steps)
