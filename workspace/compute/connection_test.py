"""Connection test of a compute target: what works, what does not, and how to fix it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workspace.compute.base import BackendError


@dataclass(frozen=True)
class ServerAddress:
    """This server as processes reach it, and the certificates (PEM) by which they trust it."""

    url: str
    ca_bundle: str = ""


class StepOutcome(StrEnum):
    PENDING = "pending"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class ConnectionStep:
    """One thing that was tried; the remedy is for one that failed."""

    name: str
    outcome: StepOutcome = StepOutcome.PENDING
    said: str = ""
    remedy: str = ""


class StepFailed(Exception):
    """A step failed; what comes after it may go on all the same unless it is `final`."""

    def __init__(self, said: str, remedy: str = "", *, is_final: bool = False) -> None:
        super().__init__(said)
        self.remedy = remedy
        self.is_final = is_final


class StepSkipped(Exception):
    """A step does not apply, and this says why."""


PlannedStep = tuple[str, Callable[[], str]]


def run_steps(plan: Sequence[PlannedStep]) -> Iterator[list[ConnectionStep]]:
    """Take one step after the other; yield all of them anew each time one is done."""
    steps = [ConnectionStep(name) for name, _ in plan]
    yield list(steps)
    stopped_by = ""
    for number, (name, try_it) in enumerate(plan):
        if stopped_by:
            steps[number] = ConnectionStep(
                name, StepOutcome.SKIPPED, f"Not tried: {stopped_by} failed."
            )
            continue
        try:
            steps[number] = ConnectionStep(name, StepOutcome.OK, try_it())
        except StepSkipped as skipped:
            steps[number] = ConnectionStep(name, StepOutcome.SKIPPED, str(skipped))
        except StepFailed as failed:
            steps[number] = ConnectionStep(name, StepOutcome.FAILED, str(failed), failed.remedy)
            stopped_by = f"the step '{name}'" if failed.is_final else ""
        except BackendError as error:
            steps[number] = ConnectionStep(name, StepOutcome.FAILED, str(error))
        yield list(steps)
    yield list(steps)
